"""``python send.py NAME``: queues mails with a peer, then measures how long it takes to send them.

Run by the peers' own Python, in this folder; configured by the environment (benchmarks/peers.py).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import django
import mails
from django.conf import settings

ROWS, SMTP_PORT = int(os.environ["PEER_ROWS"]), int(os.environ["PEER_SMTP_PORT"])
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def set_up(*apps: str, **values: object) -> None:
    """A Django with the MariaDB of the measurement."""
    settings.configure(
        SECRET_KEY="only for this measurement",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.mysql",
                "NAME": "peer",
                "USER": "root",
                "HOST": "127.0.0.1",
                "PORT": os.environ["PEER_DB_PORT"],
                "OPTIONS": {"charset": "utf8mb4"},
            }
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *apps],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=SMTP_PORT,
        USE_TZ=True,
        **values,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def post_office(*, tuned: bool) -> Callable[[], None]:
    """django-post_office; tuned: two processes of twenty threads."""
    options = {"THREADS_PER_PROCESS": 20, "BATCH_SIZE": 1000} if tuned else {}
    set_up(
        "post_office",
        EMAIL_BACKEND="post_office.EmailBackend",
        POST_OFFICE={"BACKENDS": {"default": SMTP}, **options},
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates"},
            {"BACKEND": "post_office.template.backends.post_office.PostOfficeTemplates"},
        ],
    )
    from django.core.management import call_command
    from post_office import mail

    for start in range(0, ROWS, 1000):
        mail.send_many(
            [
                {
                    "sender": mails.SENDER,
                    "recipients": f"user{n}@example.test",
                    "subject": mails.SUBJECT,
                    "message": mails.text(n),
                    "html_message": mails.html(n),
                }
                for n in range(start, min(ROWS, start + 1000))
            ]
        )
    return lambda: call_command("send_queued_mail", processes=2 if tuned else 1)


def django_mailer() -> Callable[[], None]:
    """django-mailer, as it comes."""
    set_up("mailer", EMAIL_BACKEND="mailer.backend.DbBackend", MAILER_EMAIL_BACKEND=SMTP)
    from django.core.mail import EmailMultiAlternatives
    from django.core.management import call_command

    for n in range(ROWS):
        to = [f"user{n}@example.test"]
        message = EmailMultiAlternatives(mails.SUBJECT, mails.text(n), mails.SENDER, to)
        message.attach_alternative(mails.html(n), "text/html")
        message.send()
    return lambda: call_command("send_mail")


def celery(*pool: str) -> Callable[[], None]:
    """Celery; the worker is up before the mails are asked for."""
    import celery_app

    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-l", "ERROR", *pool]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not celery_app.app.control.ping(timeout=1):
        pass

    def work() -> None:
        for n in range(ROWS):
            celery_app.send.delay(n)
        while int(celery_app.counter.get("sent") or 0) < ROWS:
            time.sleep(0.01)
        worker.terminate()

    return work


PEERS: Mapping[str, Callable[[], Callable[[], None]]] = {
    "post_office": lambda: post_office(tuned=False),
    "post_office+": lambda: post_office(tuned=True),
    "django-mailer": django_mailer,
    "celery": celery,
    "celery+": lambda: celery("--pool", "threads", "--concurrency", "20"),
}

if __name__ == "__main__":
    work = PEERS[sys.argv[1]]()
    started = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - started}))
