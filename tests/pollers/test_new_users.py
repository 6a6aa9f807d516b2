"""Claims of new users, killed at each step."""

import json
import subprocess
import sys

from sidecar.demo.site import Site
from sidecar.moodle.encryption import key_path, make_key
from tests.conftest import ConfigFile
from tests.support.processes import clean_environment, run_sidecar


def test_wherever_a_claim_is_killed_each_user_waits_or_is_ours(
    iomad_db: str, config_file: ConfigFile
) -> None:
    config = config_file(iomad_db, min_age=0, flush_after=0)
    make_key(key_path(config.parent / "moodledata"))
    assert Site(iomad_db).tables  # installed
    assert run_sidecar(config, "schema", "--create").returncode == 0
    done = subprocess.run(
        [sys.executable, "-m", "tests.pollers.dying", str(config), iomad_db],
        capture_output=True, text=True, timeout=120, check=False, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["killed"] >= 20
    assert found["waiting"] >= 10
    assert found["claimed"] >= 2  # killed between the commit and the end, and not killed
