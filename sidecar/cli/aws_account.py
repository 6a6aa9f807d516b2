"""A company's AWS account, as commands ask it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.cli.common import App
from sidecar.connectors.aws import AwsConnector
from sidecar.connectors.aws_watch import AwsWatch
from sidecar.routes import AwsRoute
from sidecar.store.companies import Company


@contextmanager
def connected(app: App, company_id: int) -> Iterator[tuple[Company, AwsConnector, AwsWatch]]:
    """The company, what sends for it and what looks at its account.

    Raises MailSettingsError where its settings name no account.
    """
    context = app.context
    site = context.identify()
    company = context.companies().get(company_id)
    routes = context.routes(lambda: None)
    routes.site_uid = site.site_uid
    route = routes.cloud(company, "aws")
    assert isinstance(route, AwsRoute)  # noqa: S101 - what that provider's routes are
    connector = AwsConnector(route.account, guard=lambda: None)
    watch = AwsWatch(route.account)
    try:
        yield company, connector, watch
    finally:
        connector.close(time.monotonic() + 5)
        watch.close()
