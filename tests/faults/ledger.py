"""The exact check after a case: Moodle's queue, the sink and our tables explain each other.

A mail is (address, subject): every case gives each of its mails a pair of its own.
"""

import email
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.policy import default

from sidecar.demo.sink import Received
from sidecar.lifecycle import ENDED, Recipient
from tests.e2e.world import World

Mail = tuple[str, str]

_SUBJECT = re.compile(rb"^Subject: ([ -~]*)\r\n(?![ \t])", re.MULTILINE)

NOT_SENT = frozenset(
    {Recipient.FAILED, Recipient.PERMANENTLY_FAILED, Recipient.CANCELLED, Recipient.RETURNED}
)
"""States that say: it did not leave."""

QUEUE = """
SELECT e.id, e.sent, e.subject, u.email FROM mdl_email e JOIN mdl_user u ON u.id = e.userid
"""
OURS = """
SELECT r.source_id, r.email, r.status, r.error_code, r.batch_id, r.job_id
FROM mdl_manireports_cloud_recipients r
WHERE r.retry_of IS NULL AND r.source = 'iomad_mail'
"""
BATCHES = """
SELECT id, job_id, status, email_count, sent_count, failed_count
FROM mdl_manireports_cloud_import_batches
"""
JOBS = """
SELECT id, status, email_count, emails_sent, emails_failed FROM mdl_manireports_cloud_jobs
WHERE parent_job_id IS NULL
"""


@dataclass(slots=True)
class Balance:
    """What became of all mails.

    mails: asked for. moodles: still wait in Moodle's queue. states: of those that are ours.
    lost: told as sent, or nobody's, and never arrived. doubled: arrivals too many. wrong: what
    cannot be explained, one line each.
    """

    mails: int = 0
    moodles: int = 0
    states: Counter[Recipient] = field(default_factory=Counter)
    lost: list[Mail] = field(default_factory=list)
    doubled: Counter[Mail] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def unknown(self) -> int:
        """Mails of which nobody can say whether they arrived; they are listed as such."""
        return self.states[Recipient.UNKNOWN]

    @property
    def waiting(self) -> int:
        """Mails of ours that have not ended."""
        return sum(number for state, number in self.states.items() if state not in ENDED)


def judge(world: World, received: Iterable[Received], *, by_subject: bool = True) -> Balance:
    """Compare the three books, mail by mail and counter by counter.

    by_subject: if not, every mail has an address of its own, and subjects are not compared.
    """
    if by_subject:
        arrived = Counter(map(mail_of, received))
    else:
        arrived = Counter((each, "") for message in received for each in message.recipients)
    balance = Balance()
    ours: dict[int, list[tuple[str, Recipient]]] = defaultdict(list)
    counts: dict[int, Counter[Recipient]] = defaultdict(Counter)
    jobs: dict[int, Counter[Recipient]] = defaultdict(Counter)
    for row in world.sql(OURS):
        state = Recipient(row.status)
        ours[row.source_id].append((row.email, state))
        counts[row.batch_id][state] += 1
        jobs[row.job_id][state] += 1
        balance.states[state] += 1
    explained: Counter[Mail] = Counter()
    for row in world.sql(QUEUE):
        asked = (row.email, row.subject if by_subject else "")
        _one(balance, arrived, explained, row.sent is None, asked, ours[row.id])
    balance.wrong += [
        f"arrived, though nobody asked for it: {mail}" for mail in arrived.keys() - explained.keys()
    ]
    _counters(balance, world, counts, jobs)
    return balance


def _one(
    balance: Balance,
    arrived: Mapping[Mail, int],
    explained: Counter[Mail],
    waits: bool,
    asked: Mail,
    ours: list[tuple[str, Recipient]],
) -> None:
    """One row of Moodle's queue and what we have of it."""
    balance.mails += 1
    live = [entry for entry in ours if entry[1] is not Recipient.RETURNED]
    if waits:
        balance.moodles += 1
        explained[asked] += 1
        if live:
            balance.wrong.append(f"{asked} waits in Moodle's queue and is ours too: {live}")
        if arrived[asked]:
            balance.wrong.append(f"{asked} arrived, but it waits in Moodle's queue")
        return
    if len(live) != 1:
        balance.wrong.append(f"{asked} is marked as claimed and has {len(live)} recipients")
        balance.lost += [asked] if not live and not arrived[asked] else []
        explained[asked] += 1
        return
    address, state = live[0]
    mail = (address, asked[1])
    explained[mail] += 1
    came = arrived[mail]
    if state is Recipient.SENT and not came:
        balance.lost.append(mail)
    if came > 1:
        balance.doubled[mail] += came - 1
    if came and state in NOT_SENT:
        balance.wrong.append(f"{mail} is {state} and arrived")


def _counters(
    balance: Balance,
    world: World,
    batches: Mapping[int, Counter[Recipient]],
    jobs: Mapping[int, Counter[Recipient]],
) -> None:
    """Batches and jobs say what their recipients say, once nothing moves."""
    settled = not balance.waiting
    for row in world.sql(BATCHES):
        said = (row.email_count, row.sent_count, row.failed_count)
        if settled and said != _figures(batches[row.id]):
            balance.wrong.append(
                f"batch {row.id} says {said}, its mails {_figures(batches[row.id])}"
            )
    for row in world.sql(JOBS):
        said = (row.email_count, row.emails_sent, row.emails_failed)
        total, sent, failed = _figures(jobs[row.id])
        if said[0] != total or (settled and said != (total, sent, failed)):
            balance.wrong.append(f"job {row.id} says {said}, its mails {_figures(jobs[row.id])}")


def _figures(counts: Counter[Recipient]) -> tuple[int, int, int]:
    failed = (Recipient.FAILED, Recipient.PERMANENTLY_FAILED, Recipient.UNKNOWN)
    return (
        counts.total(),
        counts[Recipient.SENT],
        sum(counts[state] for state in failed),
    )


def mail_of(received: Received) -> Mail:
    """Which mail a message is."""
    head = received.data.partition(b"\r\n\r\n")[0] + b"\r\n"
    plain = _SUBJECT.search(head)
    if plain and b"=?" not in plain[1]:
        return received.recipients[0], plain[1].decode()
    subject = email.message_from_bytes(received.data, policy=default)["Subject"]
    return received.recipients[0], str(subject)
