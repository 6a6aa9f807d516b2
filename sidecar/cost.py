"""What a job costs at AWS, and how long it takes at the account's rate. Pure.

List prices of us-east-1 in US dollars, without free tiers, taken from no bill: an estimate. Other
regions differ by some per cent.
Not in here: what a month costs whether mail is sent or not (docs/aws.md).
"""

import math
from dataclasses import dataclass

SES_MAIL = 0.10 / 1000
SES_GIGABYTE = 0.12
SQS_REQUEST = 0.40 / 1e6
SQS_CHUNK = 64 * 1024
"""Each begun chunk of a message is a request."""
LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000133334
DYNAMODB_WRITE, DYNAMODB_READ = 0.625 / 1e6, 0.125 / 1e6
SNS_EVENT = 0.50 / 1e6

MAIL_BYTES = 20_000
"""Of a mail as SES sends it, where nothing is known."""
PACKED_BYTES = 3_000
"""Of a mail in a queue message: compressed, then base64."""
WINDOW = 8
"""Mails that the worker claims and records by one write of the ledger."""
ENTRY_BYTES = 90
"""That a mail adds to the ledger's item."""
FUNCTION_GB = 1.0
SEND_SECONDS = 0.05
"""That SES takes for one mail."""
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Account:
    """What an account may send. per_second: 0 where that is not known; left_today, per_day: -1 for
    any number."""

    per_second: float = 0.0
    left_today: int = -1
    per_day: int = -1


@dataclass(frozen=True, slots=True)
class Estimate:
    """requests: calls of AWS that are paid for, by service. seconds: None where no rate is known;
    days: how often the daily quota ends before the mails do."""

    mails: int
    messages: int
    requests: dict[str, int]
    dollars: float
    seconds: float | None
    days: int


def estimate(
    mails: int, account: Account, *, limit: float = 0, batch_size: int = 100, functions: int = 4
) -> Estimate:
    """Of so many mails. limit: mails a second that the company allows, 0 for any number."""
    messages = math.ceil(mails / batch_size)
    chunks = sum(_chunks(min(batch_size, mails - n * batch_size)) for n in range(messages))
    windows = math.ceil(mails / WINDOW) + 2 * messages
    item = min(batch_size, mails) * ENTRY_BYTES
    writes = windows * max(1, math.ceil(item / 2 / 1024))
    rates = [rate for rate in (account.per_second, limit) if rate]
    rate = min(rates, default=0.0)
    busy = max(mails * SEND_SECONDS / WINDOW, mails / rate if rate else 0.0)
    requests = {
        "SES": mails,
        "SQS": 3 * chunks
        + 2 * mails,  # sent, received, deleted; an event of each mail, and its end
        "Lambda": messages,
        "DynamoDB": windows + messages + (math.ceil(mails / WINDOW) if rate else 0),
        "SNS": mails,
    }
    dollars = (
        mails * SES_MAIL
        + mails * MAIL_BYTES / 1e9 * SES_GIGABYTE
        + requests["SQS"] * SQS_REQUEST
        + messages * LAMBDA_REQUEST
        + busy * min(functions, messages) * FUNCTION_GB * LAMBDA_GB_SECOND
        + (writes + math.ceil(mails / WINDOW)) * DYNAMODB_WRITE
        + messages * DYNAMODB_READ
        + mails * SNS_EVENT
    )
    days = _days(mails, account)
    seconds = mails / rate + days * DAY if rate else None
    return Estimate(mails, messages, requests, dollars, seconds, days)


def _chunks(mails: int) -> int:
    return max(1, math.ceil(mails * PACKED_BYTES / SQS_CHUNK))


def _days(mails: int, account: Account) -> int:
    """How many quotas of further days are needed."""
    if account.per_day <= 0 or account.left_today < 0 or mails <= account.left_today:
        return 0
    return math.ceil((mails - account.left_today) / account.per_day)
