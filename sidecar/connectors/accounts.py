"""Accounts of the clouds as the sidecar uses them, each checked when it is made.

Apart from the connectors, whose libraries only a site with such an account loads. Pure.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sidecar.errors import ConfigError
from sidecar.message import SigningKey

_REGION = re.compile(r"[a-z]{2,8}(-[a-z]+){1,3}-\d{1,2}")
_SQS_HOST = re.compile(r"sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,200}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,255}", re.ASCII)
_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AwsAccount:
    """Where an AWS connector works, and as whom. Raises ConfigError for what cannot be meant.

    queue_url: of a standard queue. results_queue_url, feedback_queue_url, ledger_table: '' if there
    is none. role_arn: a role that the key takes on, '' for none; external_id: what it asks for.
    endpoint_url: of SQS, '' for the region's own (else of a VPC endpoint, or a test);
    ledger_endpoint_url: of DynamoDB, '' for the same as ``endpoint_url``. key, site_uid: what jobs
    are signed with, and for which site.
    """

    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    queue_url: str
    site_uid: str
    key: SigningKey = field(repr=False)
    results_queue_url: str = ""
    feedback_queue_url: str = ""
    ledger_table: str = ""
    role_arn: str = ""
    external_id: str = field(default="", repr=False)
    endpoint_url: str = ""
    ledger_endpoint_url: str = ""

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise ConfigError(f"aws_region: {self.region!r} is not a region, like eu-west-1")
        if not self.access_key or not self.secret_key:
            raise ConfigError("aws_access_key and aws_secret_key: both are needed")
        self._check_queue("sqs_queue_url", self.queue_url)
        for name in ("results_queue_url", "feedback_queue_url"):
            if url := getattr(self, name):
                self._check_queue(name, url)
        if self.role_arn and not _ROLE_ARN.fullmatch(self.role_arn):
            raise ConfigError(f"aws_role_arn: {self.role_arn!r} is not the ARN of a role")
        if self.external_id and not _EXTERNAL_ID.fullmatch(self.external_id):
            raise ConfigError("aws_external_id: 2 to 255 letters, digits or any of + = , . @ : / -")
        for name in ("endpoint_url", "ledger_endpoint_url"):
            if url := getattr(self, name):
                check_url(name, url)
        if self.ledger_table and not _TABLE_NAME.fullmatch(self.ledger_table):
            raise ConfigError(f"ledger_table: {self.ledger_table!r} is not the name of a table")

    def _check_queue(self, name: str, url: str) -> None:
        host = check_url(name, url)
        if url.endswith(".fifo"):
            raise ConfigError(f"{name}: a standard queue is needed, not a FIFO queue")
        match = _SQS_HOST.fullmatch(host)
        if match and match[1] != self.region:
            raise ConfigError(f"{name} is in {match[1]}, aws_region says {self.region}")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        return self.access_key, self.secret_key, self.key.secret


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudflareAccount:
    """Where a Cloudflare connector works, and as whom. Raises ConfigError for what cannot be meant.

    results_queue_id, worker_url: '' if there is none. api_url: '' for Cloudflare's own, else of a
    test. key, site_uid: what jobs are signed with, and for which site.
    """

    account_id: str
    api_token: str = field(repr=False)
    queue_id: str
    site_uid: str
    key: SigningKey = field(repr=False)
    results_queue_id: str = ""
    worker_url: str = ""
    api_url: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.account_id):
            raise ConfigError("cloudflare_account_id: an account's id has 32 hex digits")
        if not _ID.fullmatch(self.queue_id):
            raise ConfigError("cloudflare_queue_id: a queue's id has 32 hex digits, not its name")
        if self.results_queue_id and not _ID.fullmatch(self.results_queue_id):
            raise ConfigError("the results queue: a queue's id has 32 hex digits, not its name")
        if self.results_queue_id == self.queue_id:
            raise ConfigError("the results queue must be another than the jobs queue")
        if not re.fullmatch(r"[!-~]{8,}", self.api_token):
            raise ConfigError("cloudflare_api_token: an API token is needed")
        for name in ("worker_url", "api_url"):
            if url := getattr(self, name):
                check_url(name, url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        return self.api_token, self.key.secret


def check_url(name: str, url: str) -> str:
    """The host of ``url``; ConfigError if it is no URL or what is sent there could be read on the
    way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
    if not host or re.search(r"[^!-~]", url):
        raise ConfigError(f"{name} is not a URL")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{name}: a user and a password do not belong into it")
    if parts.query or parts.fragment:
        raise ConfigError(f"{name}: no query belongs into it")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError(f"{name}: only https:// is safe ({host})")
    return host


def is_loopback(host: str) -> bool:
    """Whether nobody else can listen on the way to ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
