"""From an empty AWS account to a company's settings: what ``aws deploy`` and ``aws rotate`` do."""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar.cli.aws_account import connected
from sidecar.cli.common import App
from sidecar.connectors.aws_stack import AwsAdmin
from sidecar.errors import ConfigError, ConnectorError, Unavailable
from sidecar.moodle.people import company_names
from sidecar.store.companies import SECRETS, SETTABLE, Company, has_own_key

CALLBACK_PATH = "/local/manireports/ui/ajax/cloud_callback.php"
SETTLE_SECONDS = 15.0
"""How long AWS may take until every part of it knows a new access key."""

Echo = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an admin asks for; '' and 0: as it is, or as the template has it.

    sender: a domain or an address. callback_url: None for the plugin's own.
    """

    company_id: int
    stack: str = ""
    sender: str = ""
    rate: float = 0.0
    concurrency: int = 0
    tenant: str = ""
    callback_url: str | None = None
    principal: str = ""
    external_id: str = ""
    kms_key: str = ""
    alarm_email: str = ""


class Deployment:
    """One stack of one company. Raises SidecarError; may be run again after that."""

    def __init__(self, app: App, admin: AwsAdmin, wishes: Wishes, echo: Echo) -> None:
        self._app, self._admin, self._wishes, self._echo = app, admin, wishes, echo
        self._context = app.context
        self._site_uid = self._context.identify().site_uid
        self._stack = wishes.stack or f"manireports-{self._site_uid[:8]}-{wishes.company_id}"

    def run(self) -> None:
        """Make or update everything; the company's settings say where it is."""
        wishes, admin = self._wishes, self._admin
        self._check_company()
        caller = admin.caller()
        self._echo(f"AWS account {caller.account}, {admin.region}, as {caller.arn}")
        rate = wishes.rate or self._rate_of_ses()
        if wishes.sender:
            self._ensure_sender()
        bucket, key = admin.store_code(caller)
        self._echo(f"the worker is stored in {bucket} as {key}")
        outputs = admin.put_stack(self._stack, self._parameters(bucket, key, rate), self._echo)
        self._store(outputs)
        self._echo(f"company {wishes.company_id}: its settings say where everything is")

    def rotate(self) -> None:
        """New keys for the worker and the sidecar. The worker's old one stays valid for a day."""
        resources = self._admin.resources(self._stack)
        self._give_worker_key(resources, new=True)
        user = resources.get("SidecarUser")
        if not user:
            self._echo("the sidecar acts by a role: its principal's own key is not ours to change")
            return
        before = self._reveal(self._company().aws_access_key)
        self._app.perform("company_set", self._new_access_key(user, [before]))
        self._prove_access()
        if before in self._admin.access_keys(user):
            self._admin.drop_access_key(user, before)
        self._echo("the sidecar has a new access key; the old one is removed")

    def _check_company(self) -> None:
        company_id, context = self._wishes.company_id, self._context
        if company_id:
            with context.database.read() as conn:
                if company_id not in company_names(conn, context.tables):
                    raise ConfigError(f"aws deploy: Moodle has no company {company_id}")

    def _company(self) -> Company:
        return self._context.companies().get(self._wishes.company_id)

    def _rate_of_ses(self) -> float:
        try:
            found = self._admin.quota()
        except ConnectorError as error:
            self._echo(f"SES does not say its rate, none is set: {error}")
            return 0.0
        rate = float(found["SendQuota"]["MaxSendRate"])
        sandbox = "" if found.get("ProductionAccessEnabled") else ", and is in the sandbox"
        self._echo(f"SES takes {rate:g} mails a second from this account{sandbox}")
        return rate

    def _ensure_sender(self) -> None:
        identity = self._admin.ensure_identity(self._wishes.sender)
        if identity.verified:
            self._echo(f"{identity.name} is verified")
        elif identity.records:
            self._echo(f"{identity.name}: put this into its DNS, SES verifies it by itself then:")
            for name, value in identity.records:
                self._echo(f"    {name}  CNAME  {value}")
        else:
            self._echo(f"{identity.name}: SES has sent a mail there; follow its link")

    def _parameters(self, bucket: str, key: str, rate: float) -> dict[str, str]:
        wishes = self._wishes
        wanted = {
            "SiteUid": self._site_uid,
            "CodeBucket": bucket,
            "CodeKey": key,
            "CallbackUrl": self._callback_url(),
            "MaxRate": f"{rate:.3f}".rstrip("0").rstrip(".") if rate else "",
            "MaxConcurrency": str(wishes.concurrency or ""),
            "SesTenantName": wishes.tenant,
            "SenderIdentity": wishes.sender,
            "SidecarPrincipalArn": wishes.principal,
            "ExternalId": wishes.external_id,
            "KmsKeyArn": wishes.kms_key,
            "AlarmEmail": wishes.alarm_email,
        }
        said = {name: value for name, value in wanted.items() if value}
        if wishes.callback_url is not None:
            said["CallbackUrl"] = wishes.callback_url
        return said

    def _callback_url(self) -> str:
        root = self._context.settings.wwwroot.rstrip("/")
        if root.startswith("https://"):
            return f"{root}{CALLBACK_PATH}"
        self._echo("wwwroot is not https: all results come by the results queue")
        return ""

    def _store(self, outputs: Mapping[str, str]) -> None:
        """Settings, keys of the worker and of the sidecar."""
        values: dict[str, object] = {
            name: value
            for name, value in ((snake(key), value) for key, value in outputs.items())
            if name in SETTABLE and name not in SECRETS
        }
        sender = self._wishes.sender
        if "@" in sender:
            values["ses_sender_email"] = sender
        company_id = self._wishes.company_id
        self._app.perform("company_set", {"company": company_id, "values": values})
        resources = self._admin.resources(self._stack)
        self._give_worker_key(resources, new=not has_own_key(self._context.database, company_id))
        user = resources.get("SidecarUser")
        if not user:
            self._echo("the sidecar acts by a role: its principal's key must be in the settings")
            return
        mine = self._reveal(self._company().aws_access_key)
        if mine in self._admin.access_keys(user):
            return
        self._app.perform("company_set", self._new_access_key(user, []))
        self._prove_access()

    def _new_access_key(self, user: str, keep: list[str]) -> dict[str, object]:
        key, secret = self._admin.new_access_key(user, keep, self._echo)
        vault = self._context.vault
        values = {"aws_access_key": vault.conceal(key), "aws_secret_key": vault.conceal(secret)}
        return {"company": self._wishes.company_id, "values": values}

    def _give_worker_key(self, resources: Mapping[str, str], *, new: bool) -> None:
        """The worker's secret holds the company's keys, the newest first.

        A new key is known to the worker before anything is signed with it, and to the sidecar
        before the worker can sign with it: it signs with the key of the message.
        """
        context, company_id = self._context, self._wishes.company_id
        database = context.database
        with database.read() as conn:
            now = database.now(conn)
        known = self._company().callback_keys(now) if has_own_key(database, company_id) else []
        pairs = [f"{key.key}:{self._reveal(key.secret)}" for key in known]
        if new:
            name, secret = f"c{company_id}-{secrets.token_hex(8)}", secrets.token_hex(32)
            pairs = [f"{name}:{secret}", *pairs[:1]]
        self._admin.put_secret(resources["WorkerKeys"], ",".join(pairs))
        if new:
            change = {"company": company_id, "values": {}}
            self._app.perform(
                "company_set", {**change, "callback_key": [name, context.vault.conceal(secret)]}
            )
            self._echo("the worker has a new key")

    def _prove_access(self) -> None:
        """Wait until AWS knows the new access key everywhere, as far as that shows."""
        deadline = time.monotonic() + SETTLE_SECONDS
        with connected(self._app, self._wishes.company_id) as (_, connector, _):
            while not (probe := connector.probe()).ok:
                if time.monotonic() > deadline:
                    raise Unavailable(f"the new access key does not work: {probe.detail}", "key")
                time.sleep(1)

    def _reveal(self, value: str) -> str:
        return self._context.vault.reveal(value) if value else ""


def snake(name: str) -> str:
    """SqsQueueUrl → sqs_queue_url."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
