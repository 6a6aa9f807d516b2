"""A site with one enabled company, a recording SMTP sink, and the real daemon in front of both."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from sidecar.demo.cloud import changed_environment, cloud
from sidecar.demo.sink import Sink
from sidecar.demo.site import Site
from sidecar.demo.workerd import Workerd
from sidecar.store.database import Database
from tests.conftest import ConfigFile
from tests.e2e.aws import AwsWorld, Stormy
from tests.e2e.cloudflare import CloudflareWorld
from tests.e2e.world import COMPANY, World
from tests.support.aws_door import AwsDoor


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A recording SMTP server."""
    with Sink() as running:
        yield running


@pytest.fixture
def world(iomad_db: str, sink: Sink, config_file: ConfigFile, tmp_path: Path) -> Iterator[World]:
    """A site whose company 1 is enabled for smtp; its manager copies are off."""
    site = Site(iomad_db)
    site.set_config("smtphosts", f"127.0.0.1:{sink.port}")
    site.add_company(COMPANY, "Acme Training Ltd")
    engine = create_engine(iomad_db)
    made = World(iomad_db, site, sink, config_file(iomad_db), engine, config_file, tmp_path)
    made.command("schema", "--create")
    made.command("company", "set", str(COMPANY), "--provider", "smtp", "--enable")
    yield made
    engine.dispose()
    site.engine.dispose()


@pytest.fixture
def aws(world: World) -> Iterator[AwsWorld]:
    """``world`` with an AWS beside it; company 1 sends by it."""
    with cloud("learn.example.test") as running:
        world.config = world.write_config(world.url, aws_endpoint_url=running.endpoint)
        database = Database(world.url, "mdl_")
        made = AwsWorld(world, running, database)
        made.enable()
        yield made
        database.close()


@pytest.fixture
def stormy(world: World) -> Iterator[Stormy]:
    """``aws`` behind a door that fails as AWS does."""
    with cloud("learn.example.test") as running, closing(AwsDoor(running.endpoint)) as door:
        made = Stormy(world, running, Database(world.url, "mdl_"))
        made.door = door
        made.write_config()
        made.enable()
        with changed_environment({"AWS_ENDPOINT_URL_SESV2": door.url}):
            yield made
        made.database.close()


@pytest.fixture
def cf(world: World, tmp_path: Path) -> Iterator[CloudflareWorld]:
    """``world`` with a Cloudflare beside it; company 1 sends by it."""
    with Workerd(tmp_path) as rig:
        world.config = world.write_config(world.url, cloudflare_api_url=rig.api_url)
        database = Database(world.url, "mdl_")
        made = CloudflareWorld(world, rig, database)
        made.enable()
        yield made
        database.close()
