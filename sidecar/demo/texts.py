"""The words of the demo: mail templates in IOMAD's style, and names for people."""

import itertools
import secrets
import string
from collections.abc import Mapping
from typing import NamedTuple


class MailText(NamedTuple):
    """A template of IOMAD: subject and HTML body with ``{Placeholders}``."""

    subject: str
    body: str


_COURSE_LINK = '<a href="{CourseURL}">{CourseURL}</a> (your username: {User_Username})'

MAIL_TEXTS: Mapping[str, MailText] = {
    "user_create": MailText(
        "Your new account at {Site_FullName}",
        "<p>Dear {User_FirstName},</p>\n"
        "<p>{Company_Name} has opened an account for you at {Site_FullName}.</p>\n"
        "<p>username: {User_Username}<br>\npassword: {User_Newpassword}<br>\n"
        "(a temporary one: you choose your own when you log in for the first time)</p>\n"
        '<p>Your courses wait for you at <a href="{LinkURL}">{LinkURL}</a>. If the link does not'
        " open, copy it into the address bar of your browser.</p>\n"
        "<p>Kind regards,</p>\n<p>{Sender_FirstName}</p>",
    ),
    "user_added_to_course": MailText(
        "You are enrolled in {Course_FullName}",
        "<p>Dear {User_FirstName} {User_LastName},</p>\n"
        f"<p>You can now take part in {{Course_FullName}}: {_COURSE_LINK}</p>",
    ),
    "license_allocated": MailText(
        "A licence for {Course_FullName} is yours",
        "<p>Dear {User_FirstName} {User_LastName},</p>\n"
        f"<p>You have been given a licence for {{Course_FullName}}: {_COURSE_LINK}</p>\n"
        "<p>Once you have started, the course stays open for {License_Length} days.</p>",
    ),
    "course_not_started_warning": MailText(
        "Reminder: {Course_FullName} is waiting for you",
        "<p>Dear {User_FirstName} {User_LastName},</p>\n"
        f"<p>You have not started {{Course_FullName}} yet: {_COURSE_LINK}</p>",
    ),
    "completion_warn_user": MailText(
        "Reminder: please finish {Course_FullName}",
        "<p>Dear {User_FirstName} {User_LastName},</p>\n"
        f"<p>{{Course_FullName}} is not completed yet: {_COURSE_LINK}</p>",
    ),
    "expiry_warn_user": MailText(
        "{Course_FullName}: your certificate expires soon",
        "<p>Dear {User_FirstName} {User_LastName},</p>\n"
        "<p>Your certificate in {Course_FullName} is about to expire. Please renew it in time:"
        f" {_COURSE_LINK}</p>",
    ),
}

FIRST_NAMES = ("Amélie", "Björn", "Chiara", "Dmitri", "Esra", "Farid", "Grace", "Hồng", "Inés")
LAST_NAMES = ("Andersen", "Bianchi", "Çelik", "Dubois", "Eriksen", "Fernández", "Große", "O'Hara")
NAMES = tuple(itertools.product(LAST_NAMES, FIRST_NAMES))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into a text's placeholders, unescaped, as IOMAD does."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def temporary_password() -> str:
    """A password as Moodle makes them; it may hold what HTML would rather not see."""
    alphabet = string.ascii_letters + string.digits + "<>&;/?!*+-"
    return "".join(secrets.choice(alphabet) for _ in range(10))
