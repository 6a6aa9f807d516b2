"""Proves that a company's way through AWS works, step by step, down to a mail that SES took."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws import AwsConnector
from sidecar.connectors.aws_queues import DEAD_LETTERS
from sidecar.connectors.aws_watch import AwsWatch
from sidecar.connectors.base import Verdict
from sidecar.errors import ConnectorError, MessageError
from sidecar.mail import Address, Content, Mail, MailBatch, mail_key
from sidecar.message import (
    RESULT,
    BatchResult,
    MailStatus,
    SigningKey,
    delivery_id,
    is_signed,
    parse_envelope,
    parse_result,
)
from sidecar.steps import FAIL, OK, WARN, Step
from sidecar.store import inbox
from sidecar.store.database import Database

SIMULATOR = "success@simulator.amazonses.com"
"""SES's own mailbox, which takes everything, counts for nothing, and may be used in the sandbox."""
TRIES = 4
"""How often a worker tries a message before the sidecar has to ask again."""
PAUSE = 0.5

Found = tuple[str, str]
"""A level, and what there is to say."""


@dataclass(frozen=True, slots=True)
class Test:
    """The mail that is sent. leads: whether a daemon takes in results; else that is done here."""

    company_id: int
    sender: Address
    to: str
    seconds: float
    leads: Callable[[], bool]


def verify(
    database: Database, connector: AwsConnector, watch: AwsWatch, test: Test, *, send: bool = True
) -> Iterator[Step]:
    """Each step as it is done; nothing is sent after one that failed. Raises DatabaseError."""
    failed = False
    for step in _looks(connector, watch, test):
        failed = failed or not step.ok
        yield step
    if send and not failed:
        yield _round_trip(database, connector, test)


def _looks(connector: AwsConnector, watch: AwsWatch, test: Test) -> Iterator[Step]:
    probe = connector.probe()
    yield Step(OK if probe.ok else FAIL, "queues and ledger", probe.detail)
    looks: dict[str, Callable[[], Found]] = {
        "SES account": lambda: _account(connector),
        "sender": lambda: _sender(watch, test.sender.email),
        DEAD_LETTERS: lambda: _dead_letters(watch),
    }
    for name, look in looks.items():
        try:
            level, detail = look()
        except ConnectorError as error:
            level, detail = WARN, str(error)
        yield Step(level, name, detail)


def _account(connector: AwsConnector) -> Found:
    quota = connector.quota()
    per_day = "any number" if quota.per_day < 0 else f"{quota.per_day:,}"
    said = (
        f"{quota.per_second:g} mails a second, {quota.sent_today:,} of {per_day} used in 24 hours"
    )
    if not quota.sending:
        return FAIL, "sending is switched off for this account: ask AWS why"
    if quota.reproach:
        return WARN, f"{said}; AWS has the account on {quota.reproach}"
    if quota.sandbox:
        text = "in the sandbox: only to verified addresses; ask AWS for production access"
        return WARN, f"{said}; {text}"
    return OK, said


def _sender(watch: AwsWatch, address: str) -> Found:
    found = watch.identity(address)
    if found is None:
        text = f"SES knows neither {address} nor its domain: `aws deploy --sender`"
        return FAIL, text
    if not found.verified:
        records = "".join(f"; {name} CNAME {value}" for name, value in found.records)
        return FAIL, f"{found.name} is not verified yet{records}"
    return OK, f"{address}, as {found.name}"


def _dead_letters(watch: AwsWatch) -> Found:
    depth = next((each for each in watch.depths() if each.name == DEAD_LETTERS), None)
    if depth is None:
        text = "the jobs queue has none: what cannot be worked on comes again for days"
        return WARN, text
    if depth.messages:
        return WARN, f"{depth.messages} messages: `aws redrive`"
    return OK, "empty"


def _round_trip(database: Database, connector: AwsConnector, test: Test) -> Step:
    """A mail through queue, worker, SES and back, by the very ways that all others take."""
    name, account, began = "round trip", connector.account, time.monotonic()
    batch = _batch(account, test)
    (submission,) = connector.submit([batch], lambda _: [])
    if submission.verdict is not Verdict.ACCEPTED:
        return Step(FAIL, name, f"{submission.code} {submission.reason}".strip())
    result = _wait(database, connector, test, batch)
    seconds = time.monotonic() - began
    if result is None:
        text = f"nobody has told what became of the test mail within {test.seconds:.0f} s:"
        return Step(FAIL, name, f"{text} look at the function's log, then at the dead letters")
    if not result.recipients:
        return Step(FAIL, name, "; ".join(result.errors) or result.status.value)
    mail = result.recipients[0]
    if mail.status is not MailStatus.SENT:
        return Step(FAIL, name, f"{mail.status.value}: {mail.error_code} {mail.error}".strip())
    return Step(OK, name, f"SES took a mail to {test.to} as {mail.message_id}, {seconds:.1f} s")


def _batch(account: AwsAccount, test: Test) -> MailBatch:
    key = mail_key(account.site_uid, secrets.token_hex(32))
    text = "This mail shows that the way from your Moodle through AWS works.\n"
    mail = Mail(
        id=0,
        mail_key=key,
        message_id=f"{key[:40]}@{test.sender.email.rpartition('@')[2]}",
        to=test.to,
        sender=test.sender,
        envelope_from=test.sender.email,
        content=Content("ManiReports test mail", f"<p>{text}</p>", text),
    )
    return MailBatch(
        id=0,
        batch_key=secrets.token_hex(16),
        job_id=0,
        company_id=test.company_id,
        attempt=1,
        mails=(mail,),
        job_type="verify",
        first_issued_at=int(time.time()),
    )


def _wait(
    database: Database, connector: AwsConnector, test: Test, batch: MailBatch
) -> BatchResult | None:
    """The last report on the batch, whichever way it comes."""
    account, key = connector.account, batch.batch_key
    names = [delivery_id(account.site_uid, key, 1, each, 0) for each in range(1, TRIES + 1)]
    deadline = time.monotonic() + test.seconds
    while time.monotonic() < deadline:
        told = [
            (delivery.signed_at, delivery.payload, delivery.signature)
            for delivery in inbox.named(database, names)
        ]
        if not told and not test.leads():
            told = _collected(connector, names)
        for signed_at, payload, signature in told:
            if result := _proven(account.key, signed_at, payload, signature):
                return result
        time.sleep(PAUSE)
    return None


def _collected(connector: AwsConnector, names: list[str]) -> list[tuple[int, str, str]]:
    """Our reports in the results queue; all others come again."""
    found = []
    try:
        for message in connector.collect():
            try:
                envelope = parse_envelope(message.body)
            except MessageError:
                continue
            if any(name in envelope.payload for name in names):
                found.append((envelope.timestamp, envelope.payload, envelope.signature))
                connector.forget([message.receipt])
    except ConnectorError:
        return found
    return found


def _proven(key: SigningKey, signed_at: int, payload: str, signature: str) -> BatchResult | None:
    """A last report that the worker has signed."""
    if not is_signed(RESULT, signed_at, payload, signature, [key.secret]):
        return None
    try:
        result = parse_result(payload)
    except MessageError:
        return None
    return result if result.final else None
