"""Odd addresses, injected headers, bodies that smuggle SMTP, Unicode: on every provider."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from sidecar.demo.population import Person
from sidecar.demo.sink import Received
from sidecar.demo.workerd import Workerd
from sidecar.lifecycle import Recipient
from sidecar.store.database import Database
from tests.e2e.cloudflare import CloudflareWorld
from tests.e2e.mails import parsed, said
from tests.e2e.world import COMPANY, World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import GROUP, QUICK, Stage, quiet
from tests.support.wait import wait_for

VICTIM = "victim@example.test"
PATTERNS = (
    "plus+tag{n}", "dot.dot{n}", "'quote{n}", "o'brien{n}", "a{n}!#$%&*/=?^_`{{|}}~", "{n}-dash-",
    ".leading{n}", "trailing{n}.", "two..dots{n}", '"quoted {n}"', '"a@b{n}"', "spa ce{n}",
    "tab\t{n}", "nul\x00{n}", "crlf\r\nBcc: victim@example.test{n}",
    "lf\nRCPT TO:<victim@example.test>{n}",
    "<angle{n}>", "comma,{n}", "semi;{n}", "colon:{n}", "(comment){n}", "back\\slash{n}",
    "ünïcödé{n}", "日本語{n}", "x" * 70 + "{n}",
    "%0d%0aBcc{n}", "upper.CASE{n}", "1{n}", "_{n}", "-{n}",
)  # fmt: skip
"""Local parts."""
DOMAINS = (
    "company.example.test", "bücher.example", "xn--bcher-kva.example", "EXAMPLE.TEST",
    "a.b.c.d.example.test",
    "[127.0.0.1]", "localhost", "-bad-.example.test", "under_score.example.test",
    "x" * 64 + ".test",
)  # fmt: skip
SUBJECTS = tuple(
    f"Hello{ending}{header}"
    for ending in ("\r\n", "\n", "\r", "\r\n\r\n", "\u2028", "\u0085", "\x0b", "\x00\r\n")
    for header in (
        f"Bcc: {VICTIM}", f"To: {VICTIM}", "Content-Type: text/plain", "X-Evil: 1",
        f"Cc: {VICTIM}\r\n\r\nbody",
    )
)  # fmt: skip
"""40 header injections."""
SMUGGLING = (
    "", "x", ".", ".\r\n", "\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r\r\n",
    f"a\r\n.\r\nMAIL FROM:<evil@example.test>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nhi\r\n.\r\n",
    "..\r\n.", "QUIT\r\n", "=\r\n=20=3D", "From here\n>From there\n", " \t\n \n",
    "long " * 2_000, "<p>" + "x" * 1_500 + "</p>",
)  # fmt: skip
LARGEST = {"SMTP": 10_000_000, "AWS": 10_000_000, "Cloudflare": 5 << 20}
"""Bytes of the largest body that leaves: ``max_body_size``, and 5 MiB a mail while the Worker does
not say what its sender takes: its URL is not set here."""
SIZES = (10, 1_000, 100_000, 1_000_000, 9_000_000, 25_000_000)
UNICODE = tuple(
    f"{text} {number}"
    for number, text in enumerate(
        [chr(first) * 3 for first in (
            *range(0xC0, 0xE4), 0x3B1, 0x416, 0x5D0, 0x627, 0x905, 0xE01, 0x10D0, 0x1200, 0x3042,
            0x4E2D, 0xAC00, 0x1F389, 0x1F468, 0x1D49C, 0x20BB7, 0x200D, 0x200F, 0x202E, 0xFEFF,
            0xFFFD, 0x301, 0x1F1E9, 0xFDFA, 0x2603,
        )]
    )
)  # fmt: skip
"""60 texts, in subject and body."""

Said = Callable[[], Sequence[Received]]


@contextmanager
def _smtp(stage: Stage) -> Iterator[tuple[World, Said]]:
    with stage.world() as world:
        yield world, lambda: world.sink.messages


@contextmanager
def _aws(stage: Stage) -> Iterator[tuple[World, Said]]:
    with stage.aws() as aws, aws.worker():
        yield aws.world, aws.cloud.received


@contextmanager
def _cloudflare(stage: Stage) -> Iterator[tuple[World, Said]]:
    with stage.world() as world, Workerd(world.tmp) as rig:
        there = {"cloudflare_api_url": rig.api_url}
        world.config = world.write_config(world.url, **there)
        database = Database(world.url, "mdl_")
        made = CloudflareWorld(world, rig, database)
        made.enable()
        world.config = world.write_config(world.url, **{**QUICK, **there})
        with made.worker():
            yield world, lambda: [_of_cloudflare(mail) for mail in rig.mails()]
        database.close()


def _of_cloudflare(mail: dict[str, object]) -> Received:
    """A mail that the e-mail service took as fields, as far as it can be compared."""
    to = mail["to"]
    people = tuple(map(str, to)) if isinstance(to, list) else (str(to),)
    return Received("", people, b"", 0.0, False)


PROVIDERS = {"SMTP": _smtp, "AWS": _aws, "Cloudflare": _cloudflare}


def odd_addresses(provider: str, stage: Stage, dose: int) -> Finding:
    """Each address gets its one mail, or fails alone with a reason."""
    addresses = [
        f"{PATTERNS[n % len(PATTERNS)].format(n=n)}@{DOMAINS[n // len(PATTERNS) % len(DOMAINS)]}"
        for n in range(dose)
    ]
    with PROVIDERS[provider](stage) as (world, received):
        good = world.site.add_users(COMPANY, GROUP)
        odd = [world.site.add_user(COMPANY, email=address[:100]) for address in addresses]
        world.site.queue("user_create", COMPANY, [*good, *odd], subject="odd")
        finding = _ended(world, received, 0)
        finding.dose = dose
        counts = [message.recipients for message in received()]
        finding.must(all(len(each) == 1 for each in counts), "more than one recipient")
        reached = {each[0] for each in counts}
        finding.must(VICTIM not in reached, "the victim got mail")
        finding.must(all(p.email in reached for p in good), "an ordinary address got none")
    return finding


def injections(provider: str, stage: Stage, dose: int) -> Finding:
    """The header has the same fields as that of a harmless mail."""
    with PROVIDERS[provider](stage) as (world, received):
        good = world.site.add_users(COMPANY, GROUP)
        world.site.queue("user_create", COMPANY, good, subject="harmless")
        evil = world.site.add_users(COMPANY, dose)
        for person, subject in zip(evil, SUBJECTS, strict=False):
            world.site.queue("user_create", COMPANY, [person], subject=subject)
        finding = _ended(world, received, 0)
        finding.dose = dose
        fields: dict[tuple[str, ...], int] = {}
        for message in received():
            finding.must(message.recipients[0] != VICTIM, "the victim got mail")
            if message.data:
                names = tuple(sorted(name.lower() for name in parsed(message)))
                fields[names] = fields.get(names, 0) + 1
        finding.must(len(fields) <= 1, f"different headers: {fields}")
    return finding


def bodies(provider: str, stage: Stage, dose: int) -> Finding:
    """Every body arrives byte for byte; what is too large stays with Moodle."""
    texts = [*SMUGGLING, *("<p>" + "y" * size for size in SIZES)][:dose]
    large = sum(len(text) > LARGEST[provider] for text in texts)
    with PROVIDERS[provider](stage) as (world, received):
        return _texts(world, received, texts, large, ["bodies"] * len(texts))


def unicode(provider: str, stage: Stage, dose: int) -> Finding:
    """Every text arrives as it was, in subject and body."""
    texts = UNICODE[:dose]
    with PROVIDERS[provider](stage) as (world, received):
        return _texts(world, received, [f"<p>{text}</p>" for text in texts], 0, texts)


def _texts(
    world: World, received: Said, texts: Sequence[str], left: int, subjects: Sequence[str]
) -> Finding:
    people: list[Person] = world.site.add_users(COMPANY, max(GROUP, len(texts)))
    by_address: dict[str, tuple[str, str]] = {}
    for number, person in enumerate(people):
        text, subject = texts[number % len(texts)], subjects[number % len(texts)]
        by_address[person.email] = (text, subject)
        world.site.queue("user_create", COMPANY, [person], subject=subject, body=text)
    finding = _ended(world, received, left)
    finding.dose = len(texts)
    for message in received():
        text, subject = by_address[message.recipients[0]]
        finding.must(not message.bare, "a bare CR or LF")
        if message.data:
            wanted = re.sub(r"\r\n?", "\n", text).rstrip()
            arrived = said(message)
            finding.must(arrived.html == wanted, f"{text[:40]!r} arrived as {arrived.html[:40]!r}")
            plain = " ".join(subject.split())
            shown = " ".join(arrived.subject.split())
            finding.must(shown == plain, f"{subject!r} arrived as {shown!r}")
    return finding


def _ended(world: World, received: Said, left: int) -> Finding:
    with world.start() as daemon:
        daemon.wait_for_line("leading this site")
        wait_for(partial(quiet, world, left), 240, f"all has ended: {world.states()}")
        assert daemon.stop() == 0, daemon.output()[-1000:]
    finding = Finding()
    balance = judge(world, received(), by_subject=False)
    finding.add(balance)
    failed = balance.states[Recipient.PERMANENTLY_FAILED]
    finding.note = f"{balance.states[Recipient.SENT]} sent, {failed} refused with a reason"
    finding.note += f", {balance.moodles} left to Moodle" if balance.moodles else ""
    return finding


BAD_INPUT = "tests/e2e/test_bad_input.py"
PLAYS = (
    ("300 odd addresses", 300, odd_addresses), ("40 header injections", 40, injections),
    ("bodies 0 B to 25 MB, smuggling", len(SMUGGLING) + len(SIZES), bodies),
    ("60 Unicode texts", 60, unicode),
)  # fmt: skip
CASES = [
    Case(f"{name}, {provider}", full, partial(play, provider), covered=BAD_INPUT)
    for name, full, play in PLAYS
    for provider in PROVIDERS
]
