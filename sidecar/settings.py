"""The plain Settings object; ``config.py`` fills it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set in sidecar.toml or by ``MANIREPORTS_<KEY>``.

    Durations are seconds, sizes bytes. ``None`` means "what Moodle's config.php says".
    """

    moodle_dir: Path | None = None
    database_url: str | None = field(default=None, repr=False)
    table_prefix: str = "mdl_"
    wwwroot: str = ""
    dataroot: Path | None = None
    state_dir: Path = Path("/var/lib/manireports-sidecar")
    poll_interval: float = 1.0
    min_age: float = 3.0
    max_age: float = 86_400.0
    quiet_period: float = 30.0
    flush_after: float = 0.5
    batch_size: int = 100
    max_job_size: int = 50_000
    max_body_size: int = 10_000_000
    bulk_threshold: int = 10
    give_up_after: float = 1_800.0
    result_timeout: float = 600.0
    secret_ttl: float = 604_800.0
    smtp_connections: int = 4
    smtp_max_connections: int = 20
    smtp_timeout: float = 30.0
    aws_endpoint_url: str = ""
    cloudflare_api_url: str = ""
    unsubscribe_url: str = ""
    lease_seconds: float = 30.0
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9469
    metrics_tls_cert: Path | None = None
    metrics_tls_key: Path | None = None
    metrics_user: str = ""
    metrics_password_file: Path | None = None
    only_sidecar_sends: bool = False
    log_format: str = "text"
    log_level: str = "INFO"
    job_types: Mapping[str, str] = field(default_factory=dict)
    """Further IOMAD template names and the job type each belongs to."""
    moodle_config: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What config.php fixes: ``$CFG`` names, and ``plugin/name`` for forced plugin settings.

    The TOML table of the same name adds to it: it is how an admin says what could not be read.
    """
    moodle_config_unread: frozenset[str] = frozenset()
    """``$CFG`` names that config.php sets, or may set, to something that could not be read."""
