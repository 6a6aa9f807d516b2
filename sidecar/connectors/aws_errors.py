"""What the errors of AWS mean, and what an admin does about them. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from botocore import exceptions as boto

from sidecar.connectors.base import Verdict
from sidecar.errors import AuthFailed, ConnectorError, Rejected, Throttled, Unavailable

TEXT_LENGTH = 300
"""Characters kept of what AWS says."""

SHORTEST_SECRET = 8
"""Anything shorter could be part of any word."""

CONFLICT = "ConditionalCheckFailedException"
"""DynamoDB: somebody else has changed the item meanwhile."""

Kind = type[ConnectorError]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a call failed. uncertain: the provider may have done what was asked nevertheless."""

    error: ConnectorError
    uncertain: bool


# Codes: Common Errors of the SQS API, errors of SendMessageBatch (both as the JSON protocol and as
# the older query protocol name them), Common Errors of the DynamoDB API.
_MEANINGS: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    (
        AuthFailed,
        "AWS does not know this access key: correct aws_access_key or make a new key in IAM",
        (
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "UnrecognizedClientException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
        ),
    ),
    (
        AuthFailed,
        "the signature does not fit: correct aws_secret_key, or the clock of this host",
        ("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"),
    ),
    (
        AuthFailed,
        "the clock of this host is wrong: synchronise it (NTP)",
        ("RequestExpired", "RequestTimeTooSkewed"),
    ),
    (
        AuthFailed,
        "the access key has expired: make a new one in IAM and store it",
        ("ExpiredToken", "ExpiredTokenException"),
    ),
    (
        AuthFailed,
        "the access key may not do this: allow it in IAM and in the policy of the queue or table",
        ("AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"),
    ),
    (
        AuthFailed,
        "the queue's KMS key may not be used: allow kms:GenerateDataKey and kms:Decrypt",
        ("KmsAccessDenied", "KMS.AccessDeniedException"),
    ),
    (
        Rejected,
        "the KMS key of the queue cannot be used: mend it in KMS or give the queue another",
        (
            *("KmsDisabled", "KMS.DisabledException"),
            *("KmsInvalidState", "KMS.InvalidStateException"),
            *("KmsNotFound", "KMS.NotFoundException"),
            *("KmsOptInRequired", "KMS.OptInRequired"),
            *("KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException"),
        ),
    ),
    (
        Rejected,
        "there is no such queue in this region: correct the queue's URL and aws_region",
        ("QueueDoesNotExist", "NonExistentQueue"),
    ),
    (
        Rejected,
        "the queue is in another region: correct the queue's URL and aws_region",
        ("InvalidAddress",),
    ),
    (
        Rejected,
        "there is no such table in this region: correct the ledger's name and aws_region",
        ("ResourceNotFoundException",),
    ),
    (
        Rejected,
        "the table is not made as a ledger: its one key must be batch_key, of type string",
        ("ValidationException",),
    ),
    (
        Rejected,
        "the account may not use this region: enable it in the AWS console",
        ("OptInRequired", "SubscriptionRequiredException"),
    ),
    (
        Rejected,
        "the endpoint is not HTTPS, which the policy of the queue asks for",
        ("InvalidSecurity",),
    ),
    (
        Rejected,
        "the message is larger than the queue takes: set its MaximumMessageSize to 1,048,576",
        ("BatchRequestTooLong", "MessageTooLong"),
    ),
    (
        Rejected,
        "AWS refuses the message itself, which is a defect of the sidecar: report it",
        (
            *("InvalidMessageContents", "InvalidParameterValue", "InvalidParameterCombination"),
            *("MissingParameter", "UnsupportedOperation", "InvalidAttributeName", "InvalidAction"),
            *("EmptyBatchRequest", "TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct"),
            *("InvalidBatchEntryId", "SerializationException"),
        ),
    ),
    (Rejected, "somebody else has changed the item", (CONFLICT,)),
    (
        Throttled,
        "AWS wants us to slow down",
        (
            *("RequestThrottled", "RequestThrottledException", "RequestLimitExceeded"),
            *("Throttling", "ThrottlingException", "ThrottledException", "SlowDown"),
            *("TooManyRequestsException", "ProvisionedThroughputExceededException", "OverLimit"),
            *("KmsThrottled", "KMS.ThrottlingException"),
        ),
    ),
    (
        Unavailable,
        "AWS is in trouble",
        (
            *("InternalFailure", "InternalError", "InternalServerError", "InternalServiceError"),
            *("ServiceUnavailable", "ServiceUnavailableException"),
            *("RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"),
        ),
    ),
)
_TABLE = {code: (kind, advice) for kind, advice, codes in _MEANINGS for code in codes}

# The order counts: the first that fits.
_NETWORK: tuple[tuple[type[Exception], str, str], ...] = (
    (boto.SSLError, "tls", "no secure connection to AWS"),
    (boto.ProxyConnectionError, "proxy", "the proxy does not let us through to AWS"),
    (boto.EndpointConnectionError, "unreachable", "AWS cannot be reached"),
    (boto.ConnectTimeoutError, "timeout", "AWS cannot be reached"),
    (boto.ReadTimeoutError, "timeout", "AWS did not answer in time"),
    (boto.ConnectionClosedError, "lost", "the connection ended before AWS had answered"),
    (boto.HTTPClientError, "lost", "the connection failed before AWS had answered"),
    (boto.BotoCoreError, "boto", "AWS cannot be asked"),
    (Exception, "garbage", "what answered is not AWS"),
)
_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f]+")


def explain(
    error: Exception, subject: str, *, sent: bool = True, hide: Iterable[str] = ()
) -> Trouble:
    """What the failure of a call means.

    subject: what was asked, in the admin's words. sent: something of the request may have left
    this host. hide: what no text may show.
    """
    if isinstance(error, boto.ClientError):
        details, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        code = str(details.get("Code", "")).removeprefix("AWS.SimpleQueueService.") or str(status)
        kind, advice = _TABLE.get(code) or _by_status(status)
        # Without a code of AWS, a 5xx is some gateway's: whether AWS got the request is not known.
        uncertain = code not in _TABLE and status >= 500 and status != 503
        text = str(details.get("Message", ""))
        return Trouble(_error(kind, subject, advice, code, text, hide), uncertain and sent)
    code, advice = next((c, a) for class_, c, a in _NETWORK if isinstance(error, class_))
    text = f"{type(error).__name__} {error}" if code in {"garbage", "boto"} else _cause(error)
    return Trouble(_error(Unavailable, subject, advice, code, text, hide), sent)


def explain_entry(
    code: str, text: str, *, sender_fault: bool, subject: str, hide: Iterable[str] = ()
) -> tuple[Verdict, ConnectorError]:
    """What it means that AWS refuses one message of a batch request."""
    code = code.removeprefix("AWS.SimpleQueueService.") or "refused"
    kind, advice = _TABLE.get(code) or (Unavailable, "AWS refuses a message")
    error = _error(kind, subject, advice, code, text, hide)
    for_good = sender_fault and verdict(error) is Verdict.REFUSED_FOR_GOOD
    return Verdict.REFUSED_FOR_GOOD if for_good else Verdict.REFUSED, error


def verdict(error: ConnectorError) -> Verdict:
    """Whether a definite refusal passes by itself, or an admin must act."""
    if isinstance(error, AuthFailed | Rejected):
        return Verdict.REFUSED_FOR_GOOD
    return Verdict.REFUSED


def _by_status(status: int) -> tuple[Kind, str]:
    if status == 429:
        return Throttled, "AWS wants us to slow down"
    if status in {401, 403}:
        return AuthFailed, "AWS refuses the access key"
    if status >= 500:
        return Unavailable, "AWS is in trouble"
    return Rejected, "AWS refuses the request"


def _cause(error: Exception) -> str:
    """The innermost reason of a network error, which botocore's own text leaves out."""
    inner = getattr(error, "kwargs", {}).get("error")
    return str(inner if inner is not None else error)


def _error(
    kind: Kind, subject: str, advice: str, code: str, text: str, hide: Iterable[str]
) -> ConnectorError:
    # Only the first line: below it, AWS repeats the whole request that it could not verify.
    said = _BLANKS.sub(" ", text.strip().partition("\n")[0])
    for secret in hide:
        if len(secret) >= SHORTEST_SECRET:
            said = said.replace(secret, "***")
    said = f" ({said[:TEXT_LENGTH]})" if said else ""
    return kind(f"{subject}: {advice}{said}", code)
