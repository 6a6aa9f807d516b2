"""Whether the passwords that were mailed open the accounts."""

import email
import re
from collections.abc import Sequence
from email import policy

from sqlalchemy import select

from sidecar.demo.population import Person
from sidecar.demo.sink import Received
from sidecar.demo.site import Site
from sidecar.moodle.password_hash import crypt

_PASSWORD = re.compile(r"password: (\S+)")


def that_work(site: Site, people: Sequence[Person], received: Sequence[Received]) -> int:
    """How many of the people got exactly one password, and one that fits what Moodle has stored."""
    told: dict[str, list[str]] = {person.email: [] for person in people}
    for message in received:
        for recipient in message.recipients:
            if recipient in told:
                told[recipient] += _PASSWORD.findall(_text(message.data))
    u = site.tables.user
    with site.engine.connect() as conn:
        query = select(u.c.email, u.c.password).where(u.c.id.in_([p.id for p in people]))
        stored = {row.email: row.password for row in conn.execute(query)}
    return sum(
        len(passwords) == 1 and crypt(passwords[0], stored[address]) == stored[address]
        for address, passwords in told.items()
    )


def _text(data: bytes) -> str:
    part = email.message_from_bytes(data, policy=policy.default).get_body(("plain",))
    return str(part.get_content()) if part else ""
