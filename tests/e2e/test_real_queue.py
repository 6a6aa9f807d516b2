"""The real daemon on a real IOMAD 4.3.9 database says just what IOMAD's own cron said.

Deliberate differences, none of which a reader sees: the junk header that IOMAD names after a
custom From address is not sent; Message-ID, Date and the text part's exact line breaks are ours.
"""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parseaddr
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from sidecar.demo.cloud import cloud
from sidecar.demo.providers import AwsProvider
from sidecar.demo.sink import Received, Sink
from tests.conftest import ConfigFile
from tests.e2e.mails import Said, said, text_of
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar

SHARED = Path(__file__).parents[3] / "shared" / "moodle"
DUMP = SHARED / "iomad43_bulk.sql.gz"
EXPECTED = SHARED / "iomad43_cron_mail.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not DUMP.exists(), reason="the real IOMAD database is not beside the checkout"
)

ENROLMENT_TABLES = """
CREATE TABLE mdl_enrol (id BIGINT AUTO_INCREMENT PRIMARY KEY, enrol VARCHAR(20) NOT NULL DEFAULT '',
  status BIGINT NOT NULL DEFAULT 0, courseid BIGINT NOT NULL);
CREATE TABLE mdl_user_enrolments (id BIGINT AUTO_INCREMENT PRIMARY KEY,
  status BIGINT NOT NULL DEFAULT 0, enrolid BIGINT NOT NULL, userid BIGINT NOT NULL);
INSERT INTO mdl_enrol (enrol, courseid) SELECT DISTINCT 'manual', courseid FROM mdl_email
  WHERE templatename = 'user_added_to_course';
INSERT INTO mdl_user_enrolments (enrolid, userid) SELECT n.id, e.userid FROM mdl_email e
  JOIN mdl_enrol n ON n.courseid = e.courseid WHERE e.templatename = 'user_added_to_course'
"""
FRESH = """
UPDATE mdl_email SET modifiedtime = UNIX_TIMESTAMP() - 60,
  due = IF(due = 0, 0, UNIX_TIMESTAMP() - 60)
"""


def expected_mails() -> list[dict[str, object]]:
    with gzip.open(EXPECTED, "rt", encoding="utf-8") as lines:
        mails = [json.loads(line) for line in lines]
    return [mail for mail in mails if mail["subject"] != "Rig Site: New user account"]


def first_words(text: str) -> str:
    """The greeting and how the mail begins, without line breaks."""
    return " ".join(text.split()[:12])


def as_said(mail: dict[str, object]) -> Said:
    name, address = parseaddr(str(mail["header_from"]))
    attachments = mail["attachments"]
    assert isinstance(attachments, list)
    return Said(
        rcpt=str(mail["rcpt"]),
        envelope_from=str(mail["envelope_from"]),
        from_email=address,
        from_name=name,
        reply_to=str(mail["reply_to"]) if mail["reply_to"] else None,
        subject=str(mail["subject"]),
        html=str(mail["html"]).rstrip(),
        attachments=tuple((a["filename"], a["sha256"]) for a in attachments),
    )


@contextmanager
def real_site(mariadb: MariaDBServer, tmp_path: Path) -> Iterator[Engine]:
    """The real database, its mail fresh, and the one file that mails attach."""
    name = "real_iomad"
    dump = tmp_path / "dump.sql"
    dump.write_bytes(gzip.decompress(DUMP.read_bytes()))
    mariadb.create_database(name, dump)
    engine = create_engine(mariadb.url(name))
    with engine.begin() as conn:
        for statement in (*ENROLMENT_TABLES.split(";"), FRESH):
            conn.execute(text(statement))
    welcome = b"Welcome pack\n"
    digest = hashlib.sha1(welcome).hexdigest()
    pool = tmp_path / "moodledata" / "filedir" / digest[:2] / digest[2:4]
    pool.mkdir(parents=True)
    (pool / digest).write_bytes(welcome)
    yield engine
    engine.dispose()
    mariadb.drop_database(name)


def judge(
    engine: Engine, config: Path, received: Sequence[Received], *, own_envelope: bool = True
) -> None:
    """What arrived is what IOMAD's cron sent, and the tables say so."""
    every = [said(message) for message in received]
    expected = [as_said(mail) for mail in expected_mails()]
    if not own_envelope:
        every = [one._replace(envelope_from="") for one in every]
        expected = [one._replace(envelope_from="") for one in expected]
    got, wanted = Counter(every), Counter(expected)
    assert sum(wanted.values()) == 2240
    assert got - wanted == Counter()
    assert wanted - got == Counter()

    texts = {(m["rcpt"], m["subject"], first_words(str(m["text"]))) for m in expected_mails()}
    for message in received:
        one = said(message)
        assert (one.rcpt, one.subject, first_words(text_of(message))) in texts

    with engine.connect() as conn:
        left = conn.execute(text("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL")).scalar()
    assert left == 0
    jobs = json.loads(run_sidecar(config, "jobs", "--json").stdout)
    assert {job["status"] for job in jobs} == {"completed"}
    assert sum(job["email_count"] for job in jobs) == 2240
    assert sum(job["emails_sent"] for job in jobs) == 2240


def command(config: Path, *arguments: str, input: str | None = None) -> str:  # noqa: A002
    done = run_sidecar(config, *arguments, input=input, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_2240_messages_as_iomads_own_cron(
    mariadb: MariaDBServer, config_file: ConfigFile, tmp_path: Path
) -> None:
    with real_site(mariadb, tmp_path) as engine, Sink() as sink:
        with engine.begin() as conn:
            conn.execute(
                text("UPDATE mdl_config SET value = :v WHERE name = 'smtphosts'"),
                {"v": f"127.0.0.1:{sink.port}"},
            )
        config = config_file(engine.url.render_as_string(), wwwroot="http://127.0.0.1:8081")
        command(config, "schema", "--create")
        for company in ("1", "2"):
            command(config, "company", "set", company, "--provider", "smtp", "--enable")
        command(config, "run", "--until-idle")
        judge(engine, config, sink.messages)


@pytest.mark.slow
def test_the_same_2240_messages_at_ses(
    mariadb: MariaDBServer, config_file: ConfigFile, tmp_path: Path
) -> None:
    """Deliberate difference beside the above: SES makes the envelope sender itself."""
    senders = {as_said(mail).from_email.partition("@")[2] for mail in expected_mails()}
    with real_site(mariadb, tmp_path) as engine, cloud(*senders) as aws:
        config = config_file(
            engine.url.render_as_string(),
            wwwroot="http://127.0.0.1:8081",
            aws_endpoint_url=aws.endpoint,
        )
        command(config, "schema", "--create")
        provider = AwsProvider(aws)
        provider.enable(partial(command, config))
        with provider.at_work(engine.url.render_as_string(), "mdl_"):
            command(config, "run", "--until-idle")
        judge(engine, config, aws.received(), own_envelope=False)
