"""Files that a queued mail names: found only inside the site's dataroot."""

import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

_POOL = re.compile(r"/filedir/([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{40})$")


@dataclass(frozen=True, slots=True)
class Attached:
    """A readable file and its size in bytes."""

    path: Path
    size: int


def locate(filepath: str, dataroot: Path | None) -> Attached | str:
    """The file, or the reason why it cannot be attached.

    A path into Moodle's file pool is found in our dataroot whatever the web server calls it;
    any other path must lie inside dataroot, so that no row can make us send a file of the host.
    """
    if dataroot is None:
        return "attachment_unreadable"
    pool = _POOL.search(filepath)
    if pool:
        path = dataroot / "filedir" / pool[1] / pool[2] / pool[3]
    else:
        path = Path(filepath).resolve()
        if not path.is_relative_to(dataroot.resolve()):
            return "attachment_outside_dataroot"
    try:
        with path.open("rb") as file:
            return Attached(path, file.seek(0, 2))
    except FileNotFoundError:
        return "attachment_missing"
    except OSError:
        return "attachment_unreadable"


def content_type(filename: str) -> str:
    """The MIME type by file name, as Moodle's mimeinfo does; binary when unknown."""
    return mimetypes.guess_type(filename, strict=False)[0] or "application/octet-stream"
