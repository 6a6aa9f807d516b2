"""The client that asks Cloudflare's API and our Worker."""

import json
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from sidecar.connectors.accounts import CloudflareAccount
from sidecar.connectors.cloudflare_errors import Trouble, explain_answer, explain_exception
from sidecar.connectors.cloudflare_limit import limit_of
from sidecar.errors import ConnectorError, Throttled, Unavailable
from sidecar.message import sign

API = "https://api.cloudflare.com/client/v4"
JOBS_QUEUE, RESULTS_QUEUE, WORKER = "jobs queue", "results queue", "worker"
CONNECT_TIMEOUT = 5.0
QUICK_TRIES = 3
"""How often an idempotent call is tried, within a second or two."""

# At INFO httpx logs every request with its URL, in which the account's id is.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


class CloudflareClient:
    """Asks the API and the Worker. Thread-safe. timeout: seconds that an answer may take."""

    def __init__(self, account: CloudflareAccount, *, timeout: float) -> None:
        self.account = account
        self.ending = threading.Event()
        self._limit = limit_of(account.api_token)
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=5),
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self.ending.set()
        self._http.close()

    # Cloudflare's API

    def push(self, queue_id: str, bodies: Sequence[str]) -> Trouble | None:
        """Put messages into a queue, all or none; tried once, for it is not idempotent."""
        messages = [{"body": body, "content_type": "text"} for body in bodies]
        try:
            self._wait(JOBS_QUEUE)
        except ConnectorError as error:
            return Trouble(error)
        found = self._call(JOBS_QUEUE, queue_id, "messages/batch", {"messages": messages})
        return found if isinstance(found, Trouble) else None

    def ask_queue(
        self,
        subject: str,
        queue_id: str,
        path: str = "",
        body: object = None,
        *,
        tries: int = QUICK_TRIES,
    ) -> Any:
        """What an idempotent call about a queue results in, tried a few times: GET without a body,
        else POST. Raises ConnectorError."""
        return self._quickly(tries)(self._ask_once, subject, queue_id, path, body)

    def _ask_once(self, subject: str, queue_id: str, path: str, body: object) -> Any:
        self._wait(subject)
        found = self._call(subject, queue_id, path, body)
        if isinstance(found, Trouble):
            raise found.error
        return found["result"]

    def _call(
        self, subject: str, queue_id: str, path: str, body: object
    ) -> Mapping[str, Any] | Trouble:
        account = self.account
        base = (account.api_url or API).rstrip("/")
        url = f"{base}/accounts/{account.account_id}/queues/{queue_id}/{path}".rstrip("/")
        headers = {"Authorization": f"Bearer {account.api_token}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, separators=(",", ":")).encode("ascii")
        method = "GET" if body is None else "POST"
        return self._request(subject, method, url, headers, content, success=True)

    def _wait(self, subject: str) -> None:
        """Until the budget of requests has one left. Raises Throttled, Unavailable."""
        if blocked := self._limit.blocked():
            text = f"{subject}: Cloudflare wants us to wait, {blocked:.0f} s more"
            raise Throttled(text, "retry_after")
        while seconds := self._limit.take():
            if self.ending.wait(seconds):
                raise Unavailable("the sidecar is stopping", "closed")

    # The Worker

    def ask_worker(
        self, kind: str, fields: Mapping[str, object], *, tries: int = QUICK_TRIES
    ) -> Mapping[str, Any]:
        """The answer of our Worker to a signed question that may be repeated; ConnectorError."""
        found: Mapping[str, Any] = self._quickly(tries)(self._ask_worker_once, kind, fields)
        return found

    def _ask_worker_once(self, kind: str, fields: Mapping[str, object]) -> Mapping[str, Any]:
        account = self.account
        payload = json.dumps({"site_uid": account.site_uid, **fields}, separators=(",", ":"))
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "X-ManiReports-Key": account.key.key,
            "X-ManiReports-Timestamp": str(now),
            "X-ManiReports-Signature": sign(kind, now, payload, account.key.secret),
        }
        url = f"{account.worker_url.rstrip('/')}/{kind}"
        found = self._request(WORKER, "POST", url, headers, payload.encode("ascii"), success=False)
        if isinstance(found, Trouble):
            raise _of_worker(found.error)
        return found

    # Both

    def _quickly(self, tries: int) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(tries),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception_type(Unavailable),
            reraise=True,
        )

    def _request(
        self,
        subject: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        success: bool,
    ) -> Mapping[str, Any] | Trouble:
        """One request. success: the answer must say that it is one, as all of the API's do."""
        hide = self.account.secrets
        try:
            answer = self._http.request(method, url, headers=dict(headers), content=content)
            fields = _object(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch needs an outcome
            return explain_exception(error, subject, hide)
        if fields is not None and answer.status_code == 200:
            if not success or (fields.get("success") is True and "result" in fields):
                return fields
            if fields.get("success") is not False:
                return explain_exception(ValueError("no answer of the API"), subject, hide)
        elif answer.status_code < 300:
            return explain_exception(ValueError("no JSON"), subject, hide)
        if answer.status_code == 429 and success:
            self._limit.block(_seconds(answer.headers.get("retry-after", "")))
        return explain_answer(answer.status_code, fields, subject, hide)


def _object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,6}", text.strip()) else 0.0


def _of_worker(error: ConnectorError) -> ConnectorError:
    """What the Worker refuses is no matter of the API token."""
    advice = {
        "401": "the Worker does not know this company's key: give it the KEYS of"
        " `company set ID --new-callback-key`, and see that this host's clock is right",
        "403": "the Worker works for another site: its SITE_UID is wrong",
        "404": "there is no Worker of ours at this URL",
        "503": "the Worker is not fully configured",
    }.get(error.code)
    if advice is None:
        return error
    said = f"({tail}" if (tail := str(error).partition("(")[2]) else ""
    return type(error)(f"{WORKER}: {advice} {said}".rstrip(), error.code)
