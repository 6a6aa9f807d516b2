"""Files that hold a secret: nobody else on the host may read or change them."""

import stat
from pathlib import Path

from sidecar.errors import ConfigError

_OTHERS = stat.S_IROTH | stat.S_IWOTH


def refuse_if_public(file: Path, holds: str) -> None:
    """Raises ConfigError if every user of the host can read or change ``file``.

    holds: what is in it, for the message. A file that is not there, or lies in a folder that
    others cannot enter, passes: whoever reads it says what is missing.
    """
    try:
        real = file.resolve(strict=True)
        mode = stat.S_IMODE(real.stat().st_mode)
        if not mode & _OTHERS or not all(_open_to_others(folder) for folder in real.parents):
            return
    except (OSError, ValueError):
        return
    verb = "read" if mode & stat.S_IROTH else "change"
    raise ConfigError(
        f"{file} holds {holds} and everybody on this host can {verb} it (mode {mode:04o}):"
        f" chmod o-rw {file}"
    )


def _open_to_others(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
