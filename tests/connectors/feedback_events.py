"""Events of SES, as its documentation shows them."""

import json
from typing import Any

KEY, SITE = "ab" * 32, "5f0c9a3e7b"


def event(kind: str, address: str, **parts: Any) -> dict[str, Any]:
    """An event about a mail of ours to ``address``."""
    mail = {
        "timestamp": "2026-11-26T02:00:00.000Z",
        "source": "noreply@learn.example.test",
        "messageId": "ses-1",
        "destination": [address],
        "headersTruncated": False,
        "headers": [{"name": "From", "value": "noreply@learn.example.test"}],
        "tags": {"ses:configuration-set": ["manireports"], "mail_key": [KEY], "site_uid": [SITE]},
    }
    return {"eventType": kind, "mail": mail, **parts}


def about(body: dict[str, Any], *, key: str = "", site: str = "", message_id: str = "") -> str:
    """The event as a message, about another mail; of no mail where nothing is given."""
    tags = {"mail_key": [key], "site_uid": [site]}
    body["mail"]["tags"] = {name: value for name, value in tags.items() if value[0]}
    body["mail"]["messageId"] = message_id or "ses-1"
    return json.dumps(body)


def bounce(address: str, type_: str = "Permanent", subtype: str = "General") -> dict[str, Any]:
    """The address takes no mail."""
    recipient = {
        "emailAddress": address,
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "smtp; 550 5.1.1 user unknown",
    }
    details = {
        "bounceType": type_,
        "bounceSubType": subtype,
        "bouncedRecipients": [recipient],
        "feedbackId": "f-1",
    }
    return event("Bounce", address, bounce=details)


def complaint(address: str, type_: str = "abuse") -> dict[str, Any]:
    """The reader called it spam."""
    details = {
        "complainedRecipients": [{"emailAddress": address}],
        "complaintFeedbackType": type_,
        "feedbackId": "f-2",
    }
    return event("Complaint", address, complaint=details)


def delivery(address: str) -> dict[str, Any]:
    """The mail arrived."""
    details = {"recipients": [address], "smtpResponse": "250 2.6.0 accepted"}
    return event("Delivery", address, delivery=details)


def enveloped(body: dict[str, Any]) -> str:
    """As SNS puts it into a queue without raw delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:eu-west-1:123456789012:feedback",
            "Message": json.dumps(body),
            "Timestamp": "2026-11-26T02:00:00.000Z",
            "SignatureVersion": "1",
        }
    )
