"""What `cloudflare deploy` makes in an account beside the Worker: queues, and who reads them."""

import contextlib
import re
from typing import Any

import httpx

from sidecar.connectors.cloudflare_client import API
from sidecar.connectors.cloudflare_errors import explain_answer, explain_exception
from sidecar.errors import ConfigError, Unavailable

TIMEOUT = 30.0
PULL_SETTINGS = {"batch_size": 100, "max_retries": 100, "visibility_timeout_ms": 60_000}


class Setup:
    """An account, asked with a token that may change it. Raises ConnectorError.

    api_url: '' for Cloudflare's own.
    """

    def __init__(self, account_id: str, token: str, api_url: str = "") -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", account_id):
            raise ConfigError("the account's id has 32 hex digits: `wrangler whoami` shows it")
        if not re.fullmatch(r"[!-~]{8,}", token):
            raise ConfigError("CLOUDFLARE_API_TOKEN is not set: the token that may deploy")
        self._base = f"{(api_url or API).rstrip('/')}/accounts/{account_id}/"
        self._token = token
        self._http = httpx.Client(timeout=TIMEOUT, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def queues(self) -> dict[str, str]:
        """All queues of the account: name → id."""
        found: dict[str, str] = {}
        page, pages = 1, 1
        while page <= pages:
            answer = self._ask("GET", f"queues?page={page}&per_page=100", "queues")
            rows = answer["result"] if isinstance(answer["result"], list) else []
            found |= {str(row["queue_name"]): str(row["queue_id"]) for row in rows}
            info = answer.get("result_info")
            pages = int(info.get("total_pages", 1)) if isinstance(info, dict) else 1
            page += 1
        return found

    def make_queue(self, name: str) -> str:
        """A new queue; its id."""
        answer = self._ask("POST", "queues", f"queue {name}", {"queue_name": name})
        return str(answer["result"]["queue_id"])

    def ensure_pulled(self, name: str, queue_id: str) -> bool:
        """Have a queue read by http_pull; whether that had to be changed."""
        subject = f"consumers of {name}"
        rows = self._ask("GET", f"queues/{queue_id}/consumers", subject)["result"]
        kinds = {str(row.get("type")) for row in rows if isinstance(row, dict)}
        if "http_pull" in kinds:
            return False
        if kinds:
            raise ConfigError(f"{name} is read by a Worker already: give another --name")
        wanted = {"type": "http_pull", "settings": PULL_SETTINGS}
        self._ask("POST", f"queues/{queue_id}/consumers", subject, wanted)
        return True

    def subdomain(self) -> str:
        """The account's name in workers.dev."""
        found = self._ask("GET", "workers/subdomain", "workers.dev")["result"]
        name = str(found.get("subdomain") or "")
        if not name:
            raise ConfigError(
                "the account has no workers.dev subdomain: open Workers in the dashboard once"
            )
        return name

    def _ask(self, method: str, path: str, subject: str, body: object = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        hide = [self._token]
        try:
            answer = self._http.request(method, self._base + path, headers=headers, json=body)
        except httpx.HTTPError as error:
            raise explain_exception(error, subject, hide).error from None
        fields: dict[str, Any] | None = None
        with contextlib.suppress(ValueError):
            found = answer.json()
            fields = found if isinstance(found, dict) else None
        if answer.status_code != 200 or fields is None or fields.get("success") is not True:
            raise explain_answer(answer.status_code, fields, subject, hide).error
        if fields.get("result") is None:
            raise Unavailable(f"{subject}: what answered is not Cloudflare", "garbage")
        return fields
