"""What the fate of a mail at an SMTP server means, and for whom. Pure."""

from sidecar.connectors.smtp_session import Fate, Result
from sidecar.errors import ConnectorError, Rejected, Throttled, Unavailable
from sidecar.lifecycle import QUICK_RETRIES, Recipient
from sidecar.mail import Mail, Outcome

ERROR_LENGTH = 500


def outcome(mail: Mail, batch_id: int, result: Result) -> Outcome:
    """What is now true of a mail whose fate is its own."""
    if result.fate is Fate.ACCEPTED:
        return Outcome(mail.id, batch_id, Recipient.SENT)
    code, text = result.code or "lost", result.text[:ERROR_LENGTH]
    if result.fate is Fate.LOST_AFTER_FINAL_DOT:
        return Outcome(mail.id, batch_id, Recipient.UNKNOWN, code, text)
    if result.fate is Fate.REFUSED_PERMANENTLY:
        return Outcome(mail.id, batch_id, Recipient.PERMANENTLY_FAILED, code, text)
    tries_left = mail.tries < len(QUICK_RETRIES)
    status = Recipient.PENDING if tries_left else Recipient.FAILED
    return Outcome(mail.id, batch_id, status, code, text)


def untried(mail: Mail, batch_id: int, result: Result | None = None) -> Outcome:
    """A mail that was not sent through no fault of its own: pending as if nothing had been."""
    code, text = (result.code, result.text[:ERROR_LENGTH]) if result else ("", "")
    return Outcome(mail.id, batch_id, Recipient.PENDING, code, text, counted=False)


def unsendable(mail: Mail, batch_id: int, error: ValueError) -> Outcome:
    """A mail of which no message can be made."""
    text = str(error)[:ERROR_LENGTH]
    return Outcome(mail.id, batch_id, Recipient.PERMANENTLY_FAILED, "invalid", text)


def connection_trouble(result: Result) -> ConnectorError | None:
    """Why the connection ended without an answer for the mail: it was lost, or 421."""
    if not result.code:
        return Unavailable(result.text)
    return Throttled(result.text, result.code) if result.code.startswith("421") else None


def is_mails_own(result: Result, *, has_taken: bool) -> bool:
    """Whether the mail may have a part in what happened, or only the connection has.

    has_taken: the connection has taken mails before. Some servers take only so many of them by one
    connection and then refuse MAIL for now (OpenSMTPD: 452 after a hundred) without ending it.
    """
    is_full = has_taken and _refuses_sender(result) and result.code.startswith("4")
    return not is_full and result.step != "idle" and not result.code.startswith("421")


def sender_trouble(result: Result) -> ConnectorError | None:
    """Why the server takes nothing from this sender, if that is what was refused.

    That is what a refusal before RCPT says, but for the size (552, RFC 1870 §6.1), and at any step
    530: AUTH is required (RFC 4954 §6).
    """
    if not _refuses_sender(result) and not result.code.startswith("530"):
        return None
    for_good = result.fate is Fate.REFUSED_PERMANENTLY
    return (Rejected if for_good else Unavailable)(result.text, result.code)


def _refuses_sender(result: Result) -> bool:
    return result.step in {"rset", "mail"} and not result.code.startswith("552")
