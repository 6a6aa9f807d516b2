"""The real daemon on a real IOMAD 4.3.9 database says just what IOMAD's own cron said.

Deliberate differences, none of which a reader sees: the junk header that IOMAD names after a
custom From address is not sent; Message-ID, Date and the text part's exact line breaks are ours.
"""

import gzip
import hashlib
import json
from collections import Counter
from email.utils import parseaddr
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from sidecar.demo.sink import Sink
from tests.conftest import ConfigFile
from tests.e2e.mails import Said, said, text_of
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar

SHARED = Path(__file__).parents[3] / "shared" / "moodle"
DUMP = SHARED / "iomad43_bulk.sql.gz"
EXPECTED = SHARED / "iomad43_cron_mail.jsonl.gz"

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


@pytest.mark.skipif(not DUMP.exists(), reason="the real IOMAD database is not beside the checkout")
def test_the_same_2240_messages_as_iomads_own_cron(
    mariadb: MariaDBServer, config_file: ConfigFile, tmp_path: Path
) -> None:
    name = "real_iomad"
    dump = tmp_path / "dump.sql"
    dump.write_bytes(gzip.decompress(DUMP.read_bytes()))
    mariadb.create_database(name, dump)
    engine = create_engine(mariadb.url(name))
    with Sink() as sink, engine.connect() as conn:
        for statement in (*ENROLMENT_TABLES.split(";"), FRESH):
            conn.execute(text(statement))
        conn.execute(
            text("UPDATE mdl_config SET value = :v WHERE name = 'smtphosts'"),
            {"v": f"127.0.0.1:{sink.port}"},
        )
        conn.commit()
        config = config_file(mariadb.url(name), wwwroot="http://127.0.0.1:8081")
        welcome = b"Welcome pack\n"
        digest = hashlib.sha1(welcome).hexdigest()
        pool = tmp_path / "moodledata" / "filedir" / digest[:2] / digest[2:4]
        pool.mkdir(parents=True)
        (pool / digest).write_bytes(welcome)

        assert run_sidecar(config, "schema", "--create").returncode == 0
        for company in ("1", "2"):
            done = run_sidecar(config, "company", "set", company, "--provider", "smtp", "--enable")
            assert done.returncode == 0, done.stderr
        run = run_sidecar(config, "run", "--until-idle", timeout=120)
        assert run.returncode == 0, run.stderr

        got = Counter(said(message) for message in sink.messages)
        wanted = Counter(as_said(mail) for mail in expected_mails())
        assert sum(wanted.values()) == 2240
        assert got - wanted == Counter()
        assert wanted - got == Counter()

        texts = {(m["rcpt"], m["subject"], first_words(str(m["text"]))) for m in expected_mails()}
        for message in sink.messages:
            one = said(message)
            assert (one.rcpt, one.subject, first_words(text_of(message))) in texts

        left = conn.execute(text("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL")).scalar()
        assert left == 0
        jobs = json.loads(run_sidecar(config, "jobs", "--json").stdout)
        assert {job["status"] for job in jobs} == {"completed"}
        assert sum(job["email_count"] for job in jobs) == 2240
        assert sum(job["emails_sent"] for job in jobs) == 2240
    engine.dispose()
    mariadb.drop_database(name)
