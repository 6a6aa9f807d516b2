"""scripts/audit.sh with clients that answer, find something, or reach nobody."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CLEAN = '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}'
HOLE = (
    '{"dependencies": [{"name": "a", "version": "1",'
    ' "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}'
)
UNKNOWN = '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'
NODE = '{"auditReportVersion": 2}'


def program(path: Path, says: str, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'no way out' >&2\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("python", "node", "code", "told"),
    [
        ((CLEAN, 0), (NODE, 0), 0, "1 of 1 packages were looked up"),
        ((HOLE, 1), (NODE, 0), 1, "a 1 PYSEC-1 mended by 2"),
        ((CLEAN, 0), (NODE, 1), 1, "known holes"),
        ((UNKNOWN, 0), (NODE, 0), 0, "SKIPPED: the service of pip-audit knows none"),
        (("", 1), (NODE, 0), 0, "SKIPPED: pip-audit got no answer: no way out"),
        ((CLEAN, 0), ("{}", 1), 0, "SKIPPED: npm audit (plugin) got no answer: no way out"),
        ((UNKNOWN, 0), ("{}", 1), 2, "nobody answered: nothing was audited"),
    ],
)
def test_what_is_told_and_the_exit_code(
    tmp_path: Path, python: tuple[str, int], node: tuple[str, int], code: int, told: str
) -> None:
    for name in ("scripts/audit.sh", "scripts/lib.sh", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for folder in ("cloud_workers/cloudflare", "scripts/amd"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "package.json").write_text("{}")
    program(tmp_path / ".tools" / "audit" / "bin" / "pip-audit", *python)
    program(tmp_path / "bin" / "npm", *node)
    done = subprocess.run(
        [tmp_path / "scripts" / "audit.sh"],
        env=os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert told in done.stdout
    assert done.returncode == code, done.stdout
