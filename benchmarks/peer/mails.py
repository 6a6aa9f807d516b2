"""The mail that every peer sends: as large as the sidecar's (benchmarks/smtp.py)."""

SENDER = "noreply@learn.example.test"
SUBJECT = "A new on-line learning account has been created for you"


def text(number: int) -> str:
    """The plain part."""
    line = "A new user account has been made for you.\n"
    return f"Dear Björn,\n{line * 16}{number}"


def html(number: int) -> str:
    """The HTML part."""
    paragraphs = "<p>A new user account has been made for you.</p>\n" * 16
    return f"<p>Dear Björn,</p>\n{paragraphs}<p>{number}</p>"
