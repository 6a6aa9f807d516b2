"""The plugin's built JavaScript is that of its sources (built by ``scripts/build_amd.sh``)."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AMD = ROOT / "moodle_plugin" / "amd"
SOURCES = sorted((AMD / "src").glob("*.js"))


def test_every_source_is_built_and_nothing_else() -> None:
    wanted = {f"{source.stem}.min.js{end}" for source in SOURCES for end in ("", ".map")}
    assert SOURCES
    assert {built.name for built in (AMD / "build").iterdir()} == wanted


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_build_is_of_the_source_as_it_is(source: Path) -> None:
    built = AMD / "build" / f"{source.stem}.min.js"
    source_map = json.loads(Path(f"{built}.map").read_text("utf-8"))
    text = built.read_text("utf-8")
    assert source_map["sources"] == [f"../src/{source.name}"]
    assert source_map["sourcesContent"] == [source.read_text("utf-8")]
    # As Moodle's loader wants it; the space keeps Moodle from naming the module itself.
    assert f'define("local_manireports/{source.stem}",' in text.replace("define (", "define(")
    assert text.rstrip().endswith(f"//# sourceMappingURL={built.name}.map")


@pytest.mark.skipif(
    not (ROOT / "scripts" / "amd" / "node_modules").is_dir() or not shutil.which("node"),
    reason="scripts/build_amd.sh was never run here",
)
def test_building_again_changes_nothing() -> None:
    script = ROOT / "scripts" / "build_amd.sh"
    done = subprocess.run([str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
