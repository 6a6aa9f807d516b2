"""The real daemon on a real IOMAD 4.3.9 database: core's 500 new users get what core sent them.

Deliberate differences: the body is our own text until the plugin has stored core's, which ends
there in a placeholder that core forgets to fill in; Message-ID and Date are ours.
"""

import gzip
import json
import re
from collections import Counter
from email.utils import parseaddr
from pathlib import Path

from sqlalchemy import text

from sidecar.demo.sink import Sink
from sidecar.moodle.encryption import key_path, make_key
from tests.conftest import ConfigFile
from tests.e2e import test_real_queue as real
from tests.e2e.mails import parsed, text_of
from tests.moodle.php import run
from tests.support.mariadb import MariaDBServer

EXPECTED = real.SHARED / "iomad43_new_user_mail.jsonl.gz"

pytestmark = real.pytestmark

CACHE_FLAGS = """
CREATE TABLE mdl_cache_flags (id BIGINT AUTO_INCREMENT PRIMARY KEY, flagtype VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL, timemodified BIGINT NOT NULL DEFAULT 0, value LONGTEXT NOT NULL,
  expiry BIGINT NOT NULL) COLLATE utf8mb4_unicode_ci
"""
FRESH = """
UPDATE mdl_user SET timecreated = UNIX_TIMESTAMP() - 60, timemodified = UNIX_TIMESTAMP() - 60
"""
STORED = """
SELECT u.email, u.password FROM mdl_user u JOIN mdl_user_preferences p
  ON p.userid = u.id AND p.name = 'auth_forcepasswordchange' AND p.value = '1'
"""
VERIFY = (
    "foreach (json_decode(stream_get_contents(STDIN)) as [$p, $h]) $n += password_verify($p, $h);"
    " echo $n;"
)

MAILBOXES = ("From", "Reply-To", "To")


def test_the_same_500_messages_as_cores_own_task(
    mariadb: MariaDBServer, config_file: ConfigFile, tmp_path: Path
) -> None:
    with gzip.open(EXPECTED, "rt", encoding="utf-8") as lines:
        wanted = [json.loads(line) for line in lines]
    with real.real_site(mariadb, tmp_path) as engine, Sink() as sink:
        with engine.begin() as conn:
            conn.execute(
                text("UPDATE mdl_config SET value = :v WHERE name = 'smtphosts'"),
                {"v": f"127.0.0.1:{sink.port}"},
            )
            for statement in (CACHE_FLAGS, FRESH):
                conn.execute(text(statement))
        config = config_file(engine.url.render_as_string(), wwwroot="http://127.0.0.1:8081")
        make_key(key_path(tmp_path / "moodledata"))
        real.command(config, "schema", "--create")
        real.command(config, "company", "set", "0", "--provider", "smtp", "--enable")
        real.command(config, "run", "--until-idle")
        with engine.connect() as conn:
            stored = {row.email: row.password for row in conn.execute(text(STORED))}

    heads = Counter(
        (
            *(mail["rcpt"], mail["envelope_from"], mail["subject"]),
            *map(parseaddr, (mail["header_from"], mail["reply_to"], *mail["to"])),
        )
        for mail in wanted
    )
    pairs = []
    got: Counter[tuple[object, ...]] = Counter()
    for received in sink.messages:
        message, rcpt = parsed(received), received.recipients[0]
        mailboxes = [one for name in MAILBOXES for one in message[name].addresses]
        shown = tuple((one.display_name, one.addr_spec) for one in mailboxes)
        got[rcpt, received.sender, str(message["Subject"]), *shown] += 1
        found = re.search(r"password: (\S+)", text_of(received))
        assert found is not None
        pairs.append((found[1], stored[rcpt]))
    assert len(heads) == 500
    assert got == heads
    assert run(VERIFY, stdin=json.dumps(pairs).encode()) == b"500"
