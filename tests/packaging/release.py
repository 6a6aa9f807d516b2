"""Making the release files, for the tests that look into them."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOMENT = "1790000000"


def build(folder: Path, *parts: str, **settings: str) -> None:
    """Make them in a folder, all or some parts. settings: further variables of the script."""
    done = subprocess.run(
        [str(ROOT / "scripts" / "build.sh"), *parts],
        env=os.environ
        | {"DIST": str(folder), "SOURCE_DATE_EPOCH": MOMENT, "DEB_COMPRESSION": "gzip"}
        | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
