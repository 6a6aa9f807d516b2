"""The demo's count is right about every way in which a mail can go wrong."""

from dataclasses import replace
from email.message import EmailMessage

from sidecar.demo.scenario import Wanted
from sidecar.demo.sink import Received
from sidecar.demo.tally import Tally, count

ANA = Wanted(1, "user", "ana@example.test", "<p>Grüße,\r\nAna </p>")
COPY = Wanted(1, "manager", "mia@example.test", ANA.body)
BEN = Wanted(2, "user", "ben@example.test", "<p>Ben</p>")
BAD = Wanted(3, "user", "a@b,c@d", "<p>Bad</p>", reason="more than one")
WANTED = [ANA, COPY, BEN, BAD]
FAILURES = {(3, "user"): "the field holds more than one address"}


def mail(wanted: Wanted, subject: str = "any") -> Received:
    """A wanted mail as it arrives."""
    message = EmailMessage()
    message["Subject"] = subject
    message.set_content("text")
    message.add_alternative(wanted.body.replace("\r\n", "\n") + "\n", subtype="html")
    data = bytes(message).replace(b"\n", b"\r\n")
    return Received("noreply@example.test", (wanted.address,), data, 0.0, bare=False)


def tally(
    *received: Received, failures: dict[tuple[int, str], str] | None = None, unknown: int = 0
) -> Tally:
    return count(
        WANTED,
        received,
        claimed=4,
        failures=FAILURES if failures is None else failures,
        unknown=unknown,
    )


ALL = (mail(ANA), mail(COPY), mail(BEN))


def test_everything_arrived_once() -> None:
    result = tally(*ALL)
    assert result.ok
    assert str(result) == "claimed=4 sent=3 permanently_failed=1 unknown=0 lost=0 twice=0"


def test_a_mail_that_never_arrived_is_lost_whatever_our_tables_say() -> None:
    result = tally(*ALL[:2], failures={**FAILURES, (2, "user"): "more than one"})
    assert (result.sent, result.lost, result.ok) == (2, 1, False)


def test_a_mail_with_another_text_is_not_the_wanted_one() -> None:
    result = tally(*ALL[:2], mail(replace(BEN, body="<p>Ben!</p>")))
    assert (result.lost, result.strange) == (1, [BEN.address])


def test_each_further_arrival_counts_as_twice() -> None:
    result = tally(*ALL, mail(BEN), mail(BEN))
    assert (result.sent, result.twice, result.ok) == (3, 2, False)


def test_a_bad_address_without_its_reason_is_lost() -> None:
    assert tally(*ALL, failures={}).lost == 1
    assert tally(*ALL, failures={(3, "user"): "cancelled"}).lost == 1


def test_mail_at_a_bad_address_is_strange() -> None:
    result = tally(*ALL, mail(BAD))
    assert (result.strange, result.ok) == ([BAD.address], False)


def test_what_nobody_knows_the_end_of_is_not_ok() -> None:
    result = count(WANTED, ALL, claimed=2, failures=FAILURES, unknown=1)
    assert (result.claimed, result.unknown, result.ok) == (2, 1, False)


def test_a_mail_whose_body_nobody_can_know_is_known_by_its_subject() -> None:
    new = Wanted(0, "user", "new@example.test", "", subject="Für dich: a new account")
    arrived = mail(replace(new, body="<p>Secret</p>"), subject=new.subject)
    result = count([new], [arrived], claimed=1, failures={}, unknown=0)
    assert (result.sent, result.ok) == (1, True)
    other = mail(replace(new, body="<p>Secret</p>"), subject="Another")
    assert count([new], [other], claimed=1, failures={}, unknown=0).lost == 1
