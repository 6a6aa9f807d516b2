"""What leaves a site in a support bundle."""

import tarfile
from pathlib import Path

import pytest

from sidecar.cli.support import redacted
from tests.e2e.conftest import sink, world  # noqa: F401 - fixtures
from tests.e2e.world import World

PLANTED = ("anna.secret@example.test", "Tr0ub4dor", "AKIAIOSFODNN7EXAMPLEKEY0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("mail to anna@example.test failed", "mail to …@… failed"),
        ("mysql://moodle:geheim@localhost/m", "mysql://…@localhost/m"),
        ('"smtppass": "geheim"', '"smtppass": …'),
        ("Authorization: geheim", "Authorization: …"),
        ("secret=geheim next", "secret=… next"),
        ("key 0123456789abcdef0123456789abcdef end", "key … end"),
        ("job 5 batch 7 waits 30 s: 451 try later", "job 5 batch 7 waits 30 s: 451 try later"),
    ],
)
def test_what_is_blackened(text: str, clean: str) -> None:
    assert redacted(text) == clean


def test_a_bundle_tells_of_the_site_and_of_nobody(world: World) -> None:  # noqa: F811
    address, password, key = PLANTED
    world.site.set_config("smtpuser", "mailer")
    world.site.set_config("smtppass", password)
    log = world.tmp / "log"
    log.write_text(f"mail to {address} refused\npassword={password}\ntoken {key}\n")
    bundle = world.tmp / "bundle.tar.gz"
    world.command("support-bundle", "--log", str(log), "--output", str(bundle))
    assert bundle.stat().st_mode & 0o077 == 0
    texts: dict[str, str] = {}
    with tarfile.open(bundle) as archive:
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            texts[Path(entry.name).name] = file.read().decode()
    assert set(texts) == {
        "versions.json",
        "settings.txt",
        "site.json",
        "tables.txt",
        "failures.txt",
        "log.txt",
    }
    everything = "\n".join(texts.values())
    assert not any(secret in everything for secret in PLANTED)
    assert "mdl_manireports_cloud_jobs" in texts["tables.txt"]
    assert '"provider": "smtp"' in texts["site.json"]
    assert "refused" in texts["log.txt"]
    again = world.command("support-bundle", "--output", str(bundle), ok=False)
    assert again == "", "an archive that is there is not overwritten"
