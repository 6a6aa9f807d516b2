"""The configuration file of a sidecar under test."""

import json
from pathlib import Path


def write_config(
    folder: Path, database_url: str | None, name: str = "sidecar", **settings: object
) -> Path:
    """Write ``folder``/``name``.toml and give its path.

    State and data directories lie in the folder; times are short; a setting of None is left out.
    """
    dataroot = folder / "moodledata"
    dataroot.mkdir(exist_ok=True)
    values: dict[str, object] = {
        "database_url": database_url,
        "wwwroot": "https://learn.example.test",
        "dataroot": str(dataroot),
        "state_dir": str(folder / f"{name}-state"),
        "poll_interval": 0.1,
        "min_age": 0.5,
        "quiet_period": 1,
        "metrics_port": 0,
        **settings,
    }
    lines = [f"{key} = {json.dumps(v)}\n" for key, v in values.items() if v is not None]
    path = folder / f"{name}.toml"
    path.write_text("".join(lines), "utf-8")
    path.chmod(0o600)
    return path
