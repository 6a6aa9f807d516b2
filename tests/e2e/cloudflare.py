"""A site whose company goes the Cloudflare way: the real Worker on workerd, and an e-mail sink."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sidecar.demo.callback import CallbackPage, Refuse
from sidecar.demo.workerd import ACCOUNT, JOBS, RESULTS, TOKEN, Workerd
from sidecar.store.database import Database
from sidecar.store.site import read_site
from tests.e2e.aws import accept, plugin_page, run_sidecar_with_input
from tests.e2e.world import World


@dataclass
class CloudflareWorld:
    """A World whose company 1 has a Cloudflare account; nothing answers there until ``worker``."""

    world: World
    rig: Workerd
    database: Database
    keys: dict[str, str] = field(default_factory=dict)

    def enable(self, company: int = 1, *options: str) -> None:
        """Set a company up with an account and a key of its own."""
        done = run_sidecar_with_input(
            self.world,
            f"{TOKEN}\n",
            *("company", "set", str(company), "--provider", "cloudflare", "--enable"),
            *("--cloudflare-account-id", ACCOUNT, "--cloudflare-api-token"),
            *("--cloudflare-queue-id", JOBS, "--cloudflare-results-queue-id", RESULTS),
            *("--cloudflare-worker-url", self.rig.worker_url, "--new-callback-key", *options),
        )
        key, secret = re.findall(r"KEYS, shown only now: (\S+):(\S+)", done)[0]
        self.keys[key] = secret

    @contextmanager
    def worker(
        self, refuse: Refuse = accept, *, repeat: bool = False, **more: str
    ) -> Iterator[None]:
        """The queue, the Worker and the callback page: the plugin's own, unless it is to refuse."""
        keys = ",".join(f"{key}:{secret}" for key, secret in self.keys.items())
        uid = read_site(self.database).site_uid
        with (
            plugin_page(self.world) if refuse is accept else self._page(refuse) as page,
            self.rig.start(uid, keys, page.url, repeat=repeat, more=more),
        ):
            yield

    @contextmanager
    def _page(self, refuse: Refuse) -> Iterator[CallbackPage]:
        page = CallbackPage(self.database, lambda: self.keys, refuse)
        try:
            yield page
        finally:
            page.close()

    def rcpts(self) -> Counter[str]:
        """How often the e-mail service took a mail to each address."""
        return Counter(mail["to"] for mail in self.rig.mails())
