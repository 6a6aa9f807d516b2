"""A drain that others must not wait for ends with the chunk that is being claimed."""

import time

import pytest

from sidecar.demo.site import Site
from sidecar.moodle.encryption import key_path, make_key
from sidecar.pollers import iomad_mail
from sidecar.pollers.queue_poller import CHUNK
from tests.conftest import ConfigFile
from tests.support.claims import claim, poller_of
from tests.support.processes import run_sidecar


@pytest.mark.parametrize("source", ["iomad_mail", "new_users"])
def test_a_hurried_poller_claims_one_chunk_and_goes_on_in_the_next_cycle(
    iomad_db: str, config_file: ConfigFile, source: str
) -> None:
    config, site = config_file(iomad_db, min_age=0, flush_after=0), Site(iomad_db)
    make_key(key_path(config.parent / "moodledata"))
    assert run_sidecar(config, "schema", "--create").returncode == 0
    site.add_company(1, "Acme")
    number = 2 * CHUNK + 10
    if source == "iomad_mail":
        site.queue("user_create", 1, site.add_users(1, number))
    else:
        site.upload_users(number, 1)
    with poller_of(config, source) as (context, poller):
        ticks: list[int] = []

        def hurry() -> None:
            ticks.append(len(ticks))
            poller.hurried = True

        while not ticks:  # rows ripen, and the walk finds them
            claim(context, poller, 1, hurry)
        assert not poller.settled
        claim(context, poller, 1, hurry)
        assert len(ticks) == 1, "hurried: nothing more in this cycle"
        poller.hurried = False
        claim(context, poller, 1, hurry)
        assert len(ticks) == 2


def test_a_long_drain_leaves_the_lock_to_cron_and_goes_on_as_soon_as_it_may(
    iomad_db: str, config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, site = config_file(iomad_db, min_age=0, flush_after=0), Site(iomad_db)
    assert run_sidecar(config, "schema", "--create").returncode == 0
    site.add_company(1, "Acme")
    site.queue("user_create", 1, site.add_users(1, 2 * CHUNK))
    monkeypatch.setattr(iomad_mail, "DRAIN_SECONDS", -1)
    monkeypatch.setattr(iomad_mail, "FREE_SECONDS", 900)
    with poller_of(config, "iomad_mail") as (context, poller):
        ticks: list[int] = []
        found: list[float] = []
        while not found:  # rows ripen, and the walk finds them
            before = time.monotonic()
            moment = claim(context, poller, 1, lambda: ticks.append(1))
            found += [moment] if moment and moment > before + 800 else []
        assert not poller.settled
        assert found[0] < time.monotonic() + 900
        monkeypatch.setattr(iomad_mail, "DRAIN_SECONDS", 60)
        assert claim(context, poller, 1, lambda: ticks.append(1)) == found[0]
        assert not ticks, "the lock is cron's now"
