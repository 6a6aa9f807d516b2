"""A drain that another request must not wait for ends with the chunk that is being claimed."""

import pytest

from sidecar.demo.site import Site
from sidecar.moodle.encryption import key_path, make_key
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
