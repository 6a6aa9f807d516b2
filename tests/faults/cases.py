"""All cases, in the order of docs/reliability.md."""

from tests.faults import copies, database, freezes, kills
from tests.faults.case import Case

CASES: list[Case] = [*kills.CASES, *freezes.CASES, *copies.CASES, *database.CASES]
