"""make_tar.py SOURCE TARGET: the same .tar.gz with one time and no names of users in it."""

import gzip
import os
import sys
import tarfile


def main(source: str, target: str) -> None:
    """Pack it again, sorted."""
    moment = int(os.environ["SOURCE_DATE_EPOCH"])
    with (
        tarfile.open(source) as old,
        open(target, "wb") as file,  # noqa: PTH123
        gzip.GzipFile("", "wb", 9, file, moment) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda member: member.name):
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = moment
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)


main(*sys.argv[1:])
