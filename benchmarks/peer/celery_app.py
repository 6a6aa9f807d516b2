"""A Celery task that sends one mail, as a web application does; run by the peers' own Python."""

import os
import smtplib
from email.message import EmailMessage

import mails
from celery import Celery
from redis import Redis

app = Celery("peer", broker=os.environ["PEER_REDIS"])
counter = Redis.from_url(os.environ["PEER_REDIS"])


@app.task(acks_late=True)
def send(number: int) -> None:
    """Send mail ``number``, and count it."""
    message = EmailMessage()
    message["From"], message["To"] = mails.SENDER, f"user{number}@example.test"
    message["Subject"] = mails.SUBJECT
    message.set_content(mails.text(number))
    message.add_alternative(mails.html(number), subtype="html")
    port = int(os.environ["PEER_SMTP_PORT"])
    with smtplib.SMTP("127.0.0.1", port, local_hostname="learn.example.test") as smtp:
        smtp.send_message(message)
    counter.incr("sent")
