"""The off switches of the admin and of Moodle: while one is on, nothing is claimed or sent."""

import re
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Connection, select

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings

EMAIL_TASK = "\\local_email\\task\\cron_task"
PASSWORD_TASK = "\\core\\task\\send_new_user_passwords_task"  # noqa: S105 - a class name

_VERSION = re.compile(r"\$(?:plugin->|module->)?version\s*=\s*([0-9.]+)\s*;")


def disabled_tasks(
    conn: Connection, tables: MoodleTables, settings: Settings, tasks: Collection[str]
) -> dict[str, str]:
    """Those of Moodle's scheduled ``tasks`` that are off, each with the reason in words.

    What such a task would send is neither claimed nor sent: the admin switched that mail off.
    """
    if settings.only_sidecar_sends:
        return {}
    t = tables.task_scheduled
    query = select(t.c.classname, t.c.disabled).where(t.c.classname.in_(list(tasks)))
    disabled = {row.classname: bool(row.disabled) for row in conn.execute(query)}
    reasons = {task: f"the scheduled task {task} does not exist" for task in tasks}
    for task, off in disabled.items():
        del reasons[task]
        if off:
            reasons[task] = f"the scheduled task {task} is disabled"
    return reasons


def blocked_by(config: MoodleConfig, settings: Settings, now: int) -> list[str]:
    """Why nothing may move now, in the admin's words; empty when everything may.

    now: the database's clock, Unix seconds. Sources: lib/classes/cron.php, lib/setup.php,
    lib/upgradelib.php of Moodle 4.3.
    """
    reasons: list[str] = []
    if not config.flag("cron_enabled"):
        reasons.append("cron is disabled (Site administration > Server > Tasks > Task processing)")
    if config.number("upgraderunning") > now:
        reasons.append("an upgrade of Moodle is running")
    if config.flag("maintenance_enabled"):
        reasons.append("the site is in maintenance mode")
    if settings.dataroot is None:
        reasons.append("dataroot is not known: set dataroot in sidecar.toml")
    elif (settings.dataroot / "climaintenance.html").exists():
        reasons.append("the site is in CLI maintenance mode (climaintenance.html)")
    if config.flag("noemailever"):
        reasons.append("noemailever is set (or cannot be read): this site sends no mail")
    if "divertallemailsto" in config.unread:
        reasons.append(
            "divertallemailsto cannot be read from config.php: set it under [moodle_config]"
        )
    return reasons + _pending_upgrade(config, settings)


def _pending_upgrade(config: MoodleConfig, settings: Settings) -> list[str]:
    if settings.moodle_dir is None:
        return []
    root = settings.moodle_dir
    code = root / "public" if (root / "public" / "version.php").exists() else root
    pairs = [
        ("Moodle", code / "version.php", config.text("version")),
        (
            "local_email",
            code / "local" / "email" / "version.php",
            config.plugins.get(("local_email", "version"), ""),
        ),
    ]
    reasons = []
    for name, path, installed in pairs:
        in_code = _version_in(path)
        if in_code is not None and installed and float(installed) != in_code:
            reasons.append(
                f"{name}: code is version {in_code:.2f}, tables are {installed}:"
                " run Moodle's upgrade"
            )
    return reasons


def _version_in(path: Path) -> float | None:
    try:
        found = _VERSION.search(path.read_text("utf-8", "replace"))
    except OSError:
        return None
    return float(found.group(1)) if found else None
