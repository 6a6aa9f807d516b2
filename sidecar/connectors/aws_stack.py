"""Making what a company needs at AWS: one CloudFormation stack, with an admin's own credentials.

Nothing here runs in the daemon. Every step may be repeated: what is there stays.
"""

import hashlib
import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sidecar.connectors.aws_watch import Identity, identity_of
from sidecar.errors import ConfigError, ConnectorError, Rejected, Unavailable

FILES = Path(__file__).parents[2] / "cloud_workers" / "aws"
HANDLER, TEMPLATE = FILES / "lambda_handler.py", FILES / "template.yaml"
CAPABILITIES = ["CAPABILITY_IAM"]
POLL_SECONDS = 3.0
PATIENCE_SECONDS = 1800.0
KEYS_OF_A_USER = 2
"""The most access keys that IAM lets a user have."""

DEAD_STATES = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
"""Of a stack that was never complete: it can only be removed."""

_PARAMETER = re.compile(r"^  (\w+):\n    Type: (?:String|Number)$", re.MULTILINE)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials these are."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """aws, aws-cn, …"""
        return self.arn.split(":")[1]


def packed_handler() -> tuple[str, bytes]:
    """The worker as Lambda takes it, a ZIP file, and the key it is stored by: of its content."""
    if not HANDLER.is_file() or not TEMPLATE.is_file():
        raise ConfigError(f"{FILES} is missing: the sidecar was installed without its workers")
    code = HANDLER.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("lambda_handler.py", (2000, 1, 1, 0, 0, 0))
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, code)
    return f"worker/{hashlib.sha256(code).hexdigest()[:32]}.zip", packed.getvalue()


class AwsAdmin:
    """An admin's way to an AWS account, in one region. Everything raises ConnectorError."""

    def __init__(
        self,
        region: str,
        *,
        profile: str = "",
        endpoint_url: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.region = region
        self._endpoint = endpoint_url or None
        self._sleep = sleep
        try:
            self._session = boto3.session.Session(profile_name=profile or None, region_name=region)
        except BotoCoreError as error:
            raise ConfigError(str(error)) from None

    def caller(self) -> Caller:
        """Who asks."""
        answer = _asked("STS", self._client("sts").get_caller_identity)
        return Caller(answer["Account"], answer["Arn"])

    def quota(self) -> Mapping[str, Any]:
        """SES's GetAccount."""
        found: Mapping[str, Any] = _asked("SES", self._client("sesv2").get_account)
        return found

    def ensure_identity(self, name: str) -> Identity:
        """SES knows this domain or address; it verifies it once DNS, or its owner, says so."""
        ses = self._client("sesv2")
        try:
            return identity_of(name, ses.get_email_identity(EmailIdentity=name))
        except ses.exceptions.NotFoundException:
            pass
        except (BotoCoreError, ClientError) as error:
            raise _explained("SES", error) from None
        answer = _asked("SES", lambda: ses.create_email_identity(EmailIdentity=name))
        return identity_of(name, answer)

    def store_code(self, caller: Caller) -> tuple[str, str]:
        """The worker's code lies in S3, in a bucket of this account; bucket and key."""
        key, content = packed_handler()
        bucket = f"manireports-sidecar-{caller.account}-{self.region}"
        s3 = self._client("s3")
        where = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        try:
            s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=caller.account)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise _explained(f"bucket {bucket}", error) from None
            made = {} if self.region == "us-east-1" else where
            _asked("S3", lambda: s3.create_bucket(Bucket=bucket, **made))
        except BotoCoreError as error:
            raise _explained("S3", error) from None
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy")
        _asked(
            "S3",
            lambda: s3.put_public_access_block(
                Bucket=bucket,
                PublicAccessBlockConfiguration=dict.fromkeys(
                    (*closed, "RestrictPublicBuckets"), True
                ),
            ),
        )
        _asked("S3", lambda: s3.put_object(Bucket=bucket, Key=key, Body=content))
        return bucket, key

    def put_stack(self, name: str, parameters: Mapping[str, str], tell: Tell) -> dict[str, str]:
        """The stack is there as the template has it; its outputs. tell: hears every step.

        parameters: those that are not named keep the value they have.
        """
        cloudformation = self._client("cloudformation")
        stack = self._wait(name, tell) if self._describe(name) else None
        if stack and stack["StackStatus"] in DEAD_STATES:
            tell(f"{name}: {stack['StackStatus']}, is removed and made anew")
            _asked("CloudFormation", lambda: cloudformation.delete_stack(StackName=name))
            self._wait(name, tell)
            stack = None
        template = TEMPLATE.read_text("utf-8")
        names = set(_PARAMETER.findall(template))
        before = (stack or {}).get("Parameters", ())
        values = {each["ParameterKey"]: each["ParameterValue"] for each in before}
        values |= parameters
        asked: dict[str, Any] = {
            "StackName": name,
            "TemplateBody": template,
            "Capabilities": CAPABILITIES,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in sorted(values.items())
                if key in names
            ],
        }
        seen = {event["EventId"] for event in self._events(name)} if stack else set()
        try:
            if stack:
                cloudformation.update_stack(**asked)
            else:
                cloudformation.create_stack(**asked, OnFailure="ROLLBACK")
        except (BotoCoreError, ClientError) as error:
            if "No updates are to be performed" not in str(error):
                raise _explained("CloudFormation", error) from None
            tell(f"{name}: is as it should be")
        stack = self._wait(name, tell, seen)
        if stack is None or stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            status = stack["StackStatus"] if stack else "gone"
            why = self._first_failure(name, seen)
            raise Rejected(f"CloudFormation: the stack {name} is {status}: {why}", status)
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}

    def resources(self, name: str) -> dict[str, str]:
        """The stack's resources: AWS's name of each by the template's."""
        pages = self._client("cloudformation").get_paginator("list_stack_resources")
        found = _asked("CloudFormation", lambda: list(pages.paginate(StackName=name)))
        return {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for page in found
            for each in page["StackResourceSummaries"]
        }

    def put_secret(self, arn: str, text: str) -> None:
        """The secret says this from now on."""
        secrets = self._client("secretsmanager")
        _asked("Secrets Manager", lambda: secrets.put_secret_value(SecretId=arn, SecretString=text))

    def access_keys(self, user: str) -> list[str]:
        """The ids of a user's access keys, the oldest first."""
        iam = self._client("iam")
        answer = _asked("IAM", lambda: iam.list_access_keys(UserName=user))
        keys = sorted(answer["AccessKeyMetadata"], key=lambda each: each["CreateDate"])
        return [each["AccessKeyId"] for each in keys]

    def new_access_key(self, user: str, keep: Sequence[str], tell: Tell) -> tuple[str, str]:
        """A new access key of the sidecar's user and its secret, which AWS never shows again.

        Where there is no room for it, a key goes that is not among ``keep``.
        """
        keys = self.access_keys(user)
        for old in [key for key in keys if key not in keep][: len(keys) - KEYS_OF_A_USER + 1]:
            tell(f"{user}: the access key {old}, which nobody here uses, is removed")
            self.drop_access_key(user, old)
        iam = self._client("iam")
        made = _asked("IAM", lambda: iam.create_access_key(UserName=user))["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def drop_access_key(self, user: str, key: str) -> None:
        """The access key is worth nothing any more."""
        iam = self._client("iam")
        _asked("IAM", lambda: iam.delete_access_key(UserName=user, AccessKeyId=key))

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            stacks = self._client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except (BotoCoreError, ClientError) as error:
            if "does not exist" in str(error):
                return None
            raise _explained("CloudFormation", error) from None
        return dict(stacks[0]) if stacks else None

    def _wait(self, name: str, tell: Tell, seen: set[str] | None = None) -> dict[str, Any] | None:
        """The stack, once nothing is in progress; None if it is gone."""
        told = set(seen or ())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            stack = self._describe(name)
            if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
                return None
            for event in self._events(name) if seen is not None else ():
                if event["EventId"] not in told:
                    told.add(event["EventId"])
                    tell(_line(event))
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                return stack
            if time.monotonic() > deadline:
                raise Unavailable(f"CloudFormation: the stack {name} is still at work", "timeout")
            self._sleep(POLL_SECONDS)

    def _events(self, name: str) -> list[dict[str, Any]]:
        cloudformation = self._client("cloudformation")
        answer = _asked(
            "CloudFormation", lambda: cloudformation.describe_stack_events(StackName=name)
        )
        return list(reversed(answer["StackEvents"]))

    def _first_failure(self, name: str, seen: set[str]) -> str:
        failures: Iterator[str] = (
            _line(event)
            for event in self._events(name)
            if event["EventId"] not in seen and event["ResourceStatus"].endswith("_FAILED")
        )
        return next(failures, "it does not say why")

    def _client(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 5, "mode": "standard"}, connect_timeout=5)
        try:
            return self._session.client(
                service,  # type: ignore[call-overload]
                endpoint_url=self._endpoint,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(str(error)) from None


def _line(event: Mapping[str, Any]) -> str:
    reason = event.get("ResourceStatusReason", "")
    line = f"{event.get('LogicalResourceId', '')}: {event.get('ResourceStatus', '')}"
    return f"{line} ({reason})" if reason else line


def _asked(subject: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (BotoCoreError, ClientError) as error:
        raise _explained(subject, error) from None


def _explained(subject: str, error: Exception) -> ConnectorError:
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        return Rejected(
            f"{subject}: {details.get('Message') or error}", str(details.get("Code", ""))
        )
    return Unavailable(f"{subject}: {error}", type(error).__name__)
