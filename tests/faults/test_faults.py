"""The cases of the command at a small dose; those that tests/e2e plays already are left to it."""

from pathlib import Path

import pytest

from tests.faults.case import Case, play
from tests.faults.cases import CASES
from tests.faults.stage import Stage
from tests.support.mariadb import MariaDBServer

PLAYED = [case for case in CASES if case.small]


@pytest.mark.parametrize("case", PLAYED, ids=lambda case: case.name)
def test_what_must_hold_holds(case: Case, mariadb: MariaDBServer, tmp_path: Path) -> None:
    played = play(case, Stage(mariadb, tmp_path), case.small)
    assert not played.finding.wrong, played.row()


def test_every_case_is_played_somewhere() -> None:
    root = Path(__file__).parents[2]
    for case in CASES:
        files = [part.partition("::")[0].strip() for part in case.covered.split(",")]
        assert case.small or all((root / file).exists() for file in files if file), case.name
        assert bool(case.small) != bool(case.covered), case.name
