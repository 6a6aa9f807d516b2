"""make_zip.py FILE FOLDER NAME...: a zip whose bytes depend on the contents alone."""

import os
import sys
import time
import zipfile
from pathlib import Path

LEFT_OUT = {"__pycache__", "node_modules", ".git", "tests"}


def main(target: str, folder: str, *names: str) -> None:
    """Pack the files, sorted, with one time and one mode."""
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    found: list[Path] = []
    for name in names:
        path = Path(folder) / name
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(found):
            inside = path.relative_to(folder)
            if LEFT_OUT.isdisjoint(inside.parts):
                entry = zipfile.ZipInfo(inside.as_posix(), moment)
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())


main(*sys.argv[1:])
