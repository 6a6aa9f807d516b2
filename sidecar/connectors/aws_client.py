"""The clients that ask an AWS account."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
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

from sidecar.connectors.accounts import AwsAccount, is_loopback
from sidecar.connectors.aws_errors import Trouble, explain
from sidecar.errors import Throttled, Unavailable

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

# Variables of a botocore session: name in a file, name in the environment, value, type.
_OF_NOBODY_ELSE = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "ignore_configured_endpoint_urls": (None, None, True, None),
}

# At DEBUG botocore logs every request, bodies and headers: mails and signatures.
logging.getLogger("botocore").setLevel(logging.INFO)


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
        return url if url and is_loopback(urlsplit(url).hostname or "") else ""

    def _config(self) -> Config:
        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_TIMEOUT, self._timeout),
            read_timeout=self._timeout,
            max_pool_connections=self._connections,
            tcp_keepalive=True,
        )
