"""``setup``: the service of a real site, by root; ``completion``: for the shell."""

import json
import os
import pwd
import re
import subprocess
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sidecar import site_setup
from sidecar.errors import ConfigError
from sidecar.site_setup import Account

CONFIG = Path("/etc/manireports-sidecar")
UNITS = Path("/etc/systemd/system")
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.option(
    "--moodle-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The folder of Moodle's config.php.",
)
@click.option(
    "--dataroot",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="moodledata, where config.php does not simply name it.",
)
@click.option("--instance", default="", help="A name, where several Moodles are on this host.")
@click.option("--user", default="manireports-sidecar", show_default=True, help="Of the service.")
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True, help="For images."
)
def setup(
    moodle_dir: Path,
    dataroot: Path | None,
    instance: str,
    user: str,
    dry_run: bool,
    root: Path,
) -> None:
    """Let the service read what it needs of a site: config.php, the encryption key, moodledata.

    Writes a drop-in for systemd, and sidecar.toml if there is none; with --instance NAME it is
    NAME.toml, with a state folder and a port for metrics of its own. Nothing is started. Run it as
    root; again after the site has moved.

    \b
    Examples:
      manireports-sidecar setup --moodle-dir /var/www/moodle --dry-run
      manireports-sidecar setup --moodle-dir /srv/school/moodle --instance school
    """
    if os.geteuid() != 0:
        raise ConfigError("setup: run it as root; it writes to /etc")
    if instance == "sidecar":
        raise ConfigError("setup: sidecar.toml is the file of the site without a name")
    if instance and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", instance):
        raise ConfigError("setup: an instance is small letters, digits, - and _")
    moodle_dir = moodle_dir.resolve()
    needs = site_setup.find_needs(moodle_dir, Account.find(user), dataroot)
    service = f"manireports-sidecar@{instance}" if instance else "manireports-sidecar"
    config = root / CONFIG.relative_to("/") / f"{instance or 'sidecar'}.toml"
    unit = root / UNITS.relative_to("/") / f"{service}.service.d" / "10-site.conf"
    text = site_setup.drop_in(needs, site_setup.systemd_version())
    own = site_setup.instance_settings(instance, config.parent) if instance else {}
    values: dict[str, str | int] = {"moodle_dir": str(moodle_dir), **own}
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    lacks = site_setup.missing_settings(config, own)
    if dry_run:
        click.echo(f"# {unit}\n{text}")
        click.echo(f"# {config}\n{settings}" if not config.exists() else f"# {config} stays")
    else:
        group = pwd.getpwnam(user).pw_gid
        site_setup.write(unit, text, 0o644)
        click.echo(f"{unit} is written")
        if not config.exists():
            site_setup.write(config, settings, 0o640, group)
            click.echo(f"{config} is written")
            if own:
                click.echo(f"its metrics are at port {own['metrics_port']}")
        _reload(root)
    for key in lacks:
        click.echo(f"note: {config} has no {key}: add `{key} = {json.dumps(own[key])}`")
    for note in needs.notes:
        click.echo(f"note: {note}")
    if not dry_run:
        option = f" --config {CONFIG}/{instance}.toml" if instance else ""
        click.echo(
            f"Now: systemctl enable --now {service}, then manireports-sidecar{option} status"
        )


def _reload(root: Path) -> None:
    """Have systemd read its units again, if it runs here at all."""
    if root == Path("/") and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=False, timeout=60)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete our commands and options.

    \b
    Example:
      manireports-sidecar completion bash > /etc/bash_completion.d/manireports-sidecar
    """
    found = get_completion_class(shell)
    name = "manireports-sidecar"
    variable = "_MANIREPORTS_SIDECAR_COMPLETE"
    if found is None:
        raise ConfigError(f"completion: {shell} is not known")
    click.echo(found(ctx.find_root().command, {}, name, variable).source())
