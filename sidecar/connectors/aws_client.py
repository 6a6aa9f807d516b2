"""An AWS account as the sidecar uses it, and the clients that ask it."""

import ipaddress
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from sidecar.connectors.aws_errors import Trouble, explain
from sidecar.errors import ConfigError, Throttled, Unavailable
from sidecar.message import SigningKey

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        SendMessageBatchRequestEntryTypeDef,
        SendMessageBatchResultTypeDef,
    )

T = TypeVar("T")

JOBS_QUEUE, RESULTS_QUEUE, LEDGER = "jobs queue", "results queue", "ledger table"
FEEDBACK_QUEUE, SES, ROLE = "feedback queue", "SES", "role"
CONNECT_TIMEOUT = 5.0
QUICK_TRIES = 3
"""How often an idempotent call is tried, within a second or two."""

_REGION = re.compile(r"[a-z]{2,8}(-[a-z]+){1,3}-\d{1,2}")
_SQS_HOST = re.compile(r"sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,200}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,255}", re.ASCII)
_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")

# Variables of a botocore session: name in a file, name in the environment, value, type.
_OF_NOBODY_ELSE = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "ignore_configured_endpoint_urls": (None, None, True, None),
}

# At DEBUG botocore logs every request, bodies and headers: mails and signatures.
logging.getLogger("botocore").setLevel(logging.INFO)


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
                _check_url(name, url)
        if self.ledger_table and not _TABLE_NAME.fullmatch(self.ledger_table):
            raise ConfigError(f"ledger_table: {self.ledger_table!r} is not the name of a table")

    def _check_queue(self, name: str, url: str) -> None:
        host = _check_url(name, url)
        if url.endswith(".fifo"):
            raise ConfigError(f"{name}: a standard queue is needed, not a FIFO queue")
        match = _SQS_HOST.fullmatch(host)
        if match and match[1] != self.region:
            raise ConfigError(f"{name} is in {match[1]}, aws_region says {self.region}")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        return self.access_key, self.secret_key, self.key.secret


def _check_url(name: str, url: str) -> str:
    """The host of ``url``; ConfigError if what is sent there could be read on the way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise ConfigError(f"{name} is not a URL")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{name}: a user and a password do not belong into it")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ConfigError(f"{name}: only https:// is safe ({host})")
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AwsClients:
    """The clients of an account, made when first used. Thread-safe.

    Profiles, the files in ~/.aws and endpoints of the environment do not count; its proxies and its
    AWS_CA_BUNDLE do. botocore repeats no call. timeout: seconds that an answer may take;
    connections: the most that are kept.
    """

    def __init__(self, account: AwsAccount, *, timeout: float, connections: int) -> None:
        self.account = account
        self._timeout, self._connections = timeout, connections
        self._lock = threading.Lock()
        self._sending = threading.local()
        self._sqs: SQSClient | None = None
        self._dynamodb: DynamoDBClient | None = None
        self._ses: Any = None
        self._made: boto3.session.Session | None = None

    @property
    def sqs(self) -> "SQSClient":
        """The client of SQS."""
        with self._lock:
            if self._sqs is None:
                self._sqs = self._session().client(
                    "sqs",
                    config=self._config(),
                    endpoint_url=self.account.endpoint_url or None,
                )
                self._sqs.meta.events.register("before-send.sqs.SendMessageBatch", self._watch)
            return self._sqs

    @property
    def dynamodb(self) -> "DynamoDBClient":
        """The client of DynamoDB."""
        with self._lock:
            if self._dynamodb is None:
                url = self.account.ledger_endpoint_url or self.account.endpoint_url
                self._dynamodb = self._session().client(
                    "dynamodb", config=self._config(), endpoint_url=url or None
                )
            return self._dynamodb

    @property
    def ses(self) -> Any:
        """The client of SES: what the account may send. The sidecar sends nothing by it."""
        with self._lock:
            if self._ses is None:
                self._ses = self._session().client(
                    "sesv2", config=self._config(), endpoint_url=self._beside() or None
                )
            return self._ses

    def ask(self, subject: str, call: Callable[[], T], tries: int = QUICK_TRIES) -> T:
        """The answer of an idempotent call, tried a few times. Raises ConnectorError.

        subject: what is asked, in the admin's words.
        """
        quickly = Retrying(
            stop=stop_after_attempt(tries),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception_type((Throttled, Unavailable)),
            reraise=True,
        )
        answer: T = quickly(self._ask_once, subject, call)
        return answer

    def _ask_once(self, subject: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - botocore's parsers raise anything on garbage
            raise explain(error, subject, hide=self.account.secrets).error from None

    def send(
        self, entries: "Sequence[SendMessageBatchRequestEntryTypeDef]"
    ) -> "SendMessageBatchResultTypeDef | Trouble":
        """One SendMessageBatch to the jobs queue, tried once: it is not idempotent."""
        self._sending.begun = False
        try:
            return self.sqs.send_message_batch(QueueUrl=self.account.queue_url, Entries=entries)
        except Exception as error:  # noqa: BLE001 - botocore's parsers raise anything on garbage
            begun: bool = self._sending.begun
            return explain(error, JOBS_QUEUE, sent=begun, hide=self.account.secrets)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for client in (self._sqs, self._dynamodb, self._ses):
                if client is not None:
                    client.close()

    def _watch(self, request: "AWSPreparedRequest", **_: object) -> None:
        # The type of an error does not tell on which side of the request it came: a reset in a TLS
        # handshake looks like one after the body. Whether the body was fetched does.
        request.body = self._watched(request.body)  # type: ignore[assignment]

    def _watched(self, body: T) -> Iterator[T]:
        self._sending.begun = True
        yield body

    def _session(self) -> boto3.session.Session:
        """The account's session; with a role, its credentials are asked for again in time."""
        if self._made is None:
            account = self.account
            session = botocore.session.Session(session_vars=_OF_NOBODY_ELSE)
            session.set_credentials(account.access_key, account.secret_key)
            if account.role_arn:
                self._take_on(session)
            self._made = boto3.session.Session(region_name=account.region, botocore_session=session)
        return self._made

    def _take_on(self, session: Any) -> None:
        """Have a botocore session act as the account's role."""
        account = self.account
        extra = {"RoleSessionName": f"manireports-{account.site_uid}"[:64]}
        if account.external_id:
            extra["ExternalId"] = account.external_id
        creator = partial(
            session.create_client,
            region_name=account.region,
            config=self._config(),
            endpoint_url=self._beside() or None,
        )
        fetcher = AssumeRoleCredentialFetcher(
            creator, session.get_credentials(), account.role_arn, extra_args=extra, cache={}
        )
        # botocore has no public way to give a session credentials that renew themselves.
        session._credentials = DeferredRefreshableCredentials(
            fetcher.fetch_credentials, method="assume-role"
        )

    def _beside(self) -> str:
        """Where SES and STS are: what is set is an endpoint of SQS, unless it is a test's AWS."""
        url = self.account.endpoint_url
        return url if url and _is_loopback(urlsplit(url).hostname or "") else ""

    def _config(self) -> Config:
        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_TIMEOUT, self._timeout),
            read_timeout=self._timeout,
            max_pool_connections=self._connections,
            tcp_keepalive=True,
        )
