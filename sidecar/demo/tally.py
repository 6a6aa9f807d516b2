"""Counts what really arrived against what was wanted."""

import email
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email import policy

from sidecar.demo.scenario import Wanted
from sidecar.demo.sink import Received


@dataclass(frozen=True, slots=True)
class Tally:
    """The balance of one run, in mails.

    claimed: those that were taken over; sent: arrived; permanently_failed: cannot arrive,
    and the sidecar says so with the right reason; lost: neither; twice: arrivals too many;
    strange: addresses at which mail arrived that nobody wanted there.
    """

    claimed: int
    sent: int
    permanently_failed: int
    unknown: int
    lost: int
    twice: int
    strange: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every mail arrived once, or is rightly known as undeliverable."""
        return not (self.lost or self.twice or self.unknown or self.strange)

    def __str__(self) -> str:
        names = ("claimed", "sent", "permanently_failed", "unknown", "lost", "twice")
        return " ".join(f"{name}={getattr(self, name)}" for name in names)


def count(
    wanted: Sequence[Wanted],
    received: Sequence[Received],
    *,
    claimed: int,
    failures: Mapping[tuple[int, str], str],
    unknown: int,
) -> Tally:
    """Compare. failures: (row, role) → the reason that the sidecar gives the admin."""
    possible = {(w.address, _known_by(w)) for w in wanted if not w.reason}
    arrived: Counter[tuple[str, bytes]] = Counter()
    for message in received:
        parsed = email.message_from_bytes(message.data, policy=policy.default)
        by_body, by_subject = _fingerprint(_html(message.data)), _subject(str(parsed["Subject"]))
        for recipient in message.recipients:
            subject_is_known = (recipient, by_subject) in possible
            arrived[recipient, by_subject if subject_is_known else by_body] += 1
    sent = possible & arrived.keys()
    failed = [w for w in wanted if w.reason and w.reason in failures.get((w.row, w.role), "")]
    undeliverable = sum(1 for w in wanted if w.reason)
    return Tally(
        claimed=claimed,
        sent=len(sent),
        permanently_failed=len(failed),
        unknown=unknown,
        lost=len(possible) - len(sent) + undeliverable - len(failed),
        twice=sum(arrived[key] - 1 for key in sent),
        strange=sorted({address for address, _ in arrived.keys() - possible}),
    )


def _known_by(wanted: Wanted) -> bytes:
    return _subject(wanted.subject) if wanted.subject else _fingerprint(wanted.body)


def _subject(text: str) -> bytes:
    return b"subject " + text.encode()


def _fingerprint(html: str) -> bytes:
    text = "\n".join(line.rstrip() for line in html.splitlines()).strip()
    return hashlib.sha256(text.encode()).digest()


def _html(data: bytes) -> str:
    for part in email.message_from_bytes(data).walk():
        if part.get_content_type() == "text/html":
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                return payload.decode("utf-8", "replace")
    return ""
