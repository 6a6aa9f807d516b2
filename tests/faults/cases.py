"""All cases, in the order of docs/reliability.md."""

from tests.faults import copies, database, freezes, kills, peer, smtp
from tests.faults.case import Case

CASES: list[Case] = [
    *kills.CASES,
    *peer.CASES,
    *freezes.CASES,
    *copies.CASES,
    *database.CASES,
    *smtp.CASES,
]
