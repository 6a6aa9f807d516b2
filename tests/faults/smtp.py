"""The mail server refuses, drops, stalls, loses its answer: each mail ends as its reply says."""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import trustme

from sidecar.demo.sink import Rule
from sidecar.lifecycle import Recipient
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import Stage, queue, quiet
from tests.support.wait import wait_for

TARPIT_SECONDS = 60.0
DEADLINE = 900.0


@dataclass(slots=True)
class Share(Rule):
    """Is met by one step in ``of`` that fits, until it was met ``times`` times."""

    of: int = 3
    met: int = 0
    seen: int = 0

    def fits(self, step: str, line: str) -> bool:
        """``Rule.fits``."""
        if step != self.step or self.met >= self.times:
            return False
        self.seen += 1
        hit = self.seen % self.of == 0
        self.met += hit
        return hit


Rules = Callable[[int], Sequence[Rule]]
"""The rules that make a fault happen so often."""


def play(
    rules: Rules, ends: Recipient = Recipient.SENT, times: int = 1, **settings: Any
) -> Callable[[Stage, int], Finding]:
    """Send ``times`` mails for each fault, and see that each ends as it must.

    ends: how the mails end that met the fault; all others are sent.
    """

    def played(stage: Stage, dose: int) -> Finding:
        finding = Finding()
        with stage.world(**settings) as world:
            chosen = rules(dose)
            world.sink.rules.extend(chosen)
            queue(world, max(12, dose * times))
            with world.start() as daemon:
                daemon.wait_for_line("leading this site")
                wait_for(partial(quiet, world), DEADLINE, f"all ended: {world.states()}")
                finding.must(daemon.stop() == 0, "the daemon did not end well")
            finding.dose = _met(chosen[0], dose)
            finding.must(finding.dose == dose, f"the fault happened {finding.dose} times")
            balance = judge(world, world.sink.messages)
            wanted = 0 if ends is Recipient.SENT else dose
            found = balance.states[ends] if wanted else 0
            finding.must(found == wanted, f"{found} are {ends}, not {wanted}")
            rest = balance.mails - wanted
            sent = balance.states[Recipient.SENT]
            finding.must(sent == rest, f"{sent} are sent, not {rest}: {dict(balance.states)}")
            finding.add(balance, unknown=dose if ends is Recipient.UNKNOWN else 0)
        return finding

    return played


def _met(rule: Rule, dose: int) -> int:
    return rule.met if isinstance(rule, Share) else dose - rule.times


def says(code: str) -> Rules:
    """A refusal of every first try: half at RCPT, half after the message."""
    if code.startswith("421"):  # it ends the connection: some mails must get through between
        return lambda dose: [Share("rcpt", reply=code, times=dose)]
    step = {"452": "dot", "552": "dot", "554": "dot"}.get(code[:3], "rcpt")
    return lambda dose: [Rule(step, reply=code, times=dose)]


def drops(step: str, keep: bool = False) -> Rules:
    """The connection breaks at a step.

    ``connect`` and ``ehlo`` need connections that end: one a time, after each mail.
    """
    if step in {"connect", "ehlo"}:
        return lambda dose: [
            Share(step, drop=True, times=dose, of=2),
            Rule("dot", reply="250 2.0.0 taken", drop=True, keep=True),
        ]
    return lambda dose: [Share(step, drop=True, keep=keep, times=dose)]


def tarpit(dose: int) -> Sequence[Rule]:
    """Every first RCPT waits for longer than we bear."""
    return [Rule("rcpt", delay=TARPIT_SECONDS, times=dose)]


def tls(stage: Stage, dose: int) -> Finding:
    """A certificate of nobody we trust: nothing is said in the clear; then the server is mended."""
    finding = Finding()
    with stage.world() as world:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("elsewhere.example.test").configure_cert(context)
        world.sink.tls = context
        world.site.set_config("smtpsecure", "tls")
        queue(world, max(12, dose))
        with world.start() as daemon:
            daemon.wait_for_line("waits")
            time.sleep(1)
            said = [line for _, line in world.sink.log if line[:4] in {"MAIL", "RCPT", "AUTH"}]
            finding.must(not said, f"said in the clear: {said[:3]}")
            finding.must(not world.sink.messages, "a mail arrived without TLS")
            world.site.set_config("smtpsecure", "")
            wait_for(partial(quiet, world), DEADLINE, "all mails, when the server is mended")
            finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.dose = dose
        finding.add(judge(world, world.sink.messages))
    return finding


SOON, NEVER = Recipient.SENT, Recipient.PERMANENTLY_FAILED
CODES = {
    "421 4.3.2 shutting down": SOON,
    "451 4.7.1 greylisted": SOON,
    "452 4.3.1 insufficient storage": SOON,
    "550 5.1.1 no such user": NEVER,
    "552 5.3.4 too big": NEVER,
    "554 5.7.1 refused": NEVER,
}
STEPS = {
    "mail": SOON,
    "rcpt": SOON,
    "data": SOON,
    # A mail of a few KB leaves with its final dot in one write: it may have been taken.
    "body": Recipient.UNKNOWN,
}
ONE: Mapping[str, Any] = {"smtp_connections": 1, "smtp_max_connections": 1}
OUTCOMES = "tests/connectors/test_smtp_refusals.py, tests/connectors/test_smtp_session.py"

CASES = [
    *(
        Case(f"SMTP {code}", 100, play(says(code), ends, 3), covered=OUTCOMES)
        for code, ends in CODES.items()
    ),
    *(
        Case(f"SMTP drop at {step}", 100, play(drops(step), times=2, **ONE), covered=OUTCOMES)
        for step in ("connect", "ehlo")  # each is waited for: 5 s
    ),
    *(
        Case(f"SMTP drop at {step}", 100, play(drops(step), ends, 4), covered=OUTCOMES)
        for step, ends in STEPS.items()
    ),
    Case(
        "SMTP answer lost, mail not kept", 100,
        play(drops("dot"), Recipient.UNKNOWN, 3), covered=OUTCOMES,
    ),
    Case(
        "SMTP answer lost, mail kept", 100,
        play(drops("dot", keep=True), Recipient.UNKNOWN, 3), covered=OUTCOMES,
    ),
    Case(
        "SMTP tarpit of 60 s", 100,
        # So many that no mail is held up more often than it is tried again.
        play(tarpit, smtp_connections=40, smtp_max_connections=40), covered=OUTCOMES,
    ),
    Case("SMTP TLS failure", 100, tls, covered="tests/connectors/test_smtp_greeting.py"),
]  # fmt: skip
