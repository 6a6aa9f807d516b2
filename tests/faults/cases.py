"""All cases, in the order of docs/reliability.md."""

from tests.faults import (
    clocks,
    content,
    copies,
    database,
    freezes,
    kills,
    messages,
    peer,
    provider,
    races,
    resources,
    smtp,
    soak,
)
from tests.faults.case import Case

CASES: list[Case] = [
    *kills.CASES,
    *peer.CASES,
    *freezes.CASES,
    *copies.CASES,
    *database.CASES,
    *smtp.CASES,
    *provider.CASES,
    *messages.CASES,
    *clocks.CASES,
    *content.CASES,
    *resources.CASES,
    *races.CASES,
    *soak.CASES,
]
