"""What the errors of Cloudflare's API mean, and what an admin does about them. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx

from sidecar.connectors.base import Verdict
from sidecar.errors import AuthFailed, ConnectorError, Rejected, Throttled, Unavailable

TEXT_LENGTH = 300
"""Characters kept of what Cloudflare says."""

SHORTEST_SECRET = 8
"""Anything shorter could be part of any word."""

Kind = type[ConnectorError]

OF_ONE_MESSAGE = frozenset({"10202", "10203", "10204", "10205", "10206", "10207", "10208"})
"""Codes that may be one message's fault: of a batch, each message is then tried alone."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a call failed. uncertain: Cloudflare may have done what was asked nevertheless."""

    error: ConnectorError
    uncertain: bool = False


_MEANINGS: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    (
        AuthFailed,
        "Cloudflare does not know this API token: set another by --cloudflare-api-token",
        ("1000", "1001", "6003", "6111", "9103", "9106", "9107", "9109", "10000"),
    ),
    (
        Rejected,
        "the message is larger than the queue takes, which is a defect of the sidecar: report it",
        ("10204", "10205", "10206"),
    ),
    (
        Rejected,
        "Cloudflare refuses the message itself, which is a defect of the sidecar: report it",
        ("10202", "10203", "10207", "10208"),
    ),
    (Rejected, "the queue is disabled: enable it in Cloudflare's dashboard", ("10252",)),
    (Throttled, "Cloudflare wants us to slow down", ("971", "10250", "10429")),
    (Throttled, "the queue is full: nobody reads it", ("10251",)),
    (Throttled, "the free plan's operations of today are used up", ("10253",)),
    (Unavailable, "Cloudflare is in trouble", ("15000",)),
)
_TABLE = {code: (kind, advice) for kind, advice, codes in _MEANINGS for code in codes}

# The order counts: the first that fits. sent: something of the request may have left this host.
_NETWORK: tuple[tuple[type[Exception], str, str, bool], ...] = (
    (httpx.ProxyError, "proxy", "the proxy does not let us through to Cloudflare", False),
    (httpx.ConnectTimeout, "timeout", "Cloudflare cannot be reached", False),
    (httpx.PoolTimeout, "timeout", "Cloudflare cannot be reached", False),
    (httpx.ConnectError, "unreachable", "Cloudflare cannot be reached", False),
    (httpx.UnsupportedProtocol, "unreachable", "Cloudflare cannot be reached", False),
    (httpx.TimeoutException, "timeout", "Cloudflare did not answer in time", True),
    (httpx.TransportError, "lost", "the connection ended before Cloudflare had answered", True),
    (Exception, "garbage", "what answered is not Cloudflare", True),
)
_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f]+")


def explain_exception(error: Exception, subject: str, hide: Iterable[str] = ()) -> Trouble:
    """What it means that no answer could be read. subject: what was asked, for the admin."""
    code, advice, sent = next(
        (c, a, s) for class_, c, a, s in _NETWORK if isinstance(error, class_)
    )
    text = str(error) or type(error).__name__
    return Trouble(_error(Unavailable, subject, advice, code, text, hide), sent)


def explain_answer(
    status: int, fields: Mapping[str, object] | None, subject: str, hide: Iterable[str] = ()
) -> Trouble:
    """What an answer means that is not a success. fields: its JSON, None if it was none."""
    code, text = _first_error(fields)
    found = _TABLE.get(code)
    kind, advice = found or _by_status(status)
    # Without a code of Cloudflare's, a 5xx is some gateway's: whether the queue has it is unknown.
    uncertain = code == "15000" or (found is None and status >= 500 and status != 503)
    return Trouble(_error(kind, subject, advice, code or str(status), text, hide), uncertain)


def verdict(error: ConnectorError) -> Verdict:
    """Whether a definite refusal passes by itself, or an admin must act."""
    if isinstance(error, AuthFailed | Rejected):
        return Verdict.REFUSED_FOR_GOOD
    return Verdict.REFUSED


def _first_error(fields: Mapping[str, object] | None) -> tuple[str, str]:
    errors = (fields or {}).get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return str(errors[0].get("code", "")), str(errors[0].get("message", ""))
    return "", str((fields or {}).get("error", ""))


def _by_status(status: int) -> tuple[Kind, str]:
    if status == 429:
        return Throttled, "Cloudflare wants us to slow down"
    if status == 401:
        return _TABLE["10000"]
    if status == 403:
        return AuthFailed, "the API token may not do this: it needs Queues: Edit on this account"
    if status in {404, 405}:
        return Rejected, "there is no such account or queue: correct the ids of company set"
    if status >= 500:
        return Unavailable, "Cloudflare is in trouble"
    return Rejected, "Cloudflare refuses the request"


def _error(
    kind: Kind, subject: str, advice: str, code: str, text: str, hide: Iterable[str]
) -> ConnectorError:
    said = _BLANKS.sub(" ", text).strip()
    for secret in hide:
        if len(secret) >= SHORTEST_SECRET:
            said = said.replace(secret, "***")
    said = f" ({said[:TEXT_LENGTH]})" if said else ""
    return kind(f"{subject}: {advice}{said}", code[:50])
