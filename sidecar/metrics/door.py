"""Where the metrics are served, as the settings say."""

import logging

from sidecar.errors import ConfigError
from sidecar.metrics.exporter import Door
from sidecar.settings import Settings

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def door(settings: Settings) -> Door:
    """Raises ConfigError if the password cannot be read; warns of an open door to elsewhere."""
    password = ""
    if settings.metrics_password_file is not None:
        try:
            password = settings.metrics_password_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(
                f"metrics_password_file: {settings.metrics_password_file} cannot be read ({reason})"
            ) from None
        if not password:
            raise ConfigError(f"metrics_password_file: {settings.metrics_password_file} is empty")
    local = settings.metrics_host in LOOPBACK
    if not local and not (settings.metrics_user and settings.metrics_tls_cert):
        log.warning(
            "metrics_host %s can be reached from elsewhere: set metrics_tls_cert and metrics_user",
            settings.metrics_host,
        )
    return Door(
        settings.metrics_host,
        settings.metrics_port,
        settings.metrics_tls_cert,
        settings.metrics_tls_key,
        settings.metrics_user,
        password,
    )
