"""Core's upload of users, its password task every second, and the sidecar on one real Moodle."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage

from . import cron, daemon
from .facts import ProofError, must, wait_for
from .install import OURS, Site, php
from .server import Db
from .sink import Arrived, Sink

TASK = r"\core\task\send_new_user_passwords_task"
SOURCE = "new_users"
_SAID = re.compile(r"username: ([^\s<]+)<br />\s+password: ([^\s<]+)<br />")


def prepare(site: Site, db: Db) -> None:
    """Only core's password task stays enabled, and the site has a key for its secrets."""
    db.run("UPDATE mdl_task_scheduled SET disabled = classname <> %s", TASK)
    db.run("DELETE FROM mdl_task_adhoc")
    php(str(site.code / "admin/cli/generate_key.php"))


def play(site: Site, db: Db, sink: Sink, sidecar: daemon.Sidecar, rounds: int, users: int) -> str:
    """Plays so many rounds; the totals, or ProofError."""
    totals: Counter[str] = Counter()
    for number in range(1, rounds + 1):
        totals += _round(site, db, sink, sidecar, number, users)
    must(totals["by_cron"] > 0 and totals["by_sidecar"] > 0, f"one side sent nothing: {totals}")
    return " ".join(f"{name}={count}" for name, count in totals.items())


def _round(
    site: Site, db: Db, sink: Sink, sidecar: daemon.Sidecar, number: int, users: int
) -> Counter[str]:
    began, before = time.monotonic(), len(sink.mails)
    beside = Beside(site)
    if number % 2:  # else cron enters when the sidecar has claimed
        beside.start()
    _upload(site, f"r{number}", users)
    if not number % 2:
        claimed = f"SELECT COUNT(*) FROM {daemon.RECIPIENTS} WHERE status IN %s"
        wait_for("the sidecar claims", lambda: db.value(claimed, daemon.OPEN), 60, 0.01)
        beside.start()
    wait_for("nobody waits for a password", lambda: _waiting(db) == 0, 180)
    wait_for("every claimed mail sent", lambda: daemon.unfinished(db) == 0, 120)
    beside.stop()
    sidecar.must_live()
    found = _judge(site, db, sink.mails[before:], f"r{number}", users)
    shown = " ".join(f"{name}={count}" for name, count in found.items())
    print(f"round {number}: {shown}; {time.monotonic() - began:.1f} s", flush=True)
    return found


def _waiting(db: Db) -> int:
    return int(db.value("SELECT COUNT(*) FROM mdl_user_preferences WHERE name = 'create_password'"))


def _upload(site: Site, tag: str, users: int) -> None:
    """Site administration > Users > Upload users, from the command line."""
    lines = ["username,firstname,lastname,email"]
    lines += [
        f"{tag}u{n:04},Bjørn {n},O'Rig & Søn,{tag}u{n:04}@users.example.test"
        for n in range(1, users + 1)
    ]
    file = site.folder / f"{tag}.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    script = str(site.code / "admin/tool/uploaduser/cli/uploaduser.php")
    php(script, f"--file={file}", "--uutype=0", "--uupasswordnew=1")


def _judge(site: Site, db: Db, mails: list[Arrived], tag: str, users: int) -> Counter[str]:
    """Each user has exactly one mail, and can log in with what it says."""
    per_user: Counter[str] = Counter()
    mailed: dict[str, str] = {}
    found: Counter[str] = Counter(users=users)
    for mail in mails:
        message = message_from_bytes(mail.data, policy=policy.default)
        assert isinstance(message, EmailMessage)
        side = "by_cron" if "PHPMailer" in str(message["X-Mailer"]) else "by_sidecar"
        username, password = _told(message, side)
        per_user[username] += 1
        mailed[username] = password
        found[side] += 1
    wanted = {f"{tag}u{n:04}" for n in range(1, users + 1)}
    must(set(per_user) == wanted, f"lost: {len(wanted - set(per_user))} mails")
    twice = [name for name, count in per_user.items() if count > 1]
    must(not twice, f"twice: {len(twice)} users, such as {twice[:3]}")
    both = db.value(
        f"SELECT COUNT(*) FROM {daemon.RECIPIENTS} r JOIN mdl_user_preferences p"
        " ON p.userid = r.userid AND p.name = 'create_password' WHERE r.source = %s",
        SOURCE,
    )
    must(both == 0, f"{both} users wait and have a mail of ours")
    secrets = db.value(f"SELECT COUNT(*) FROM {daemon.RECIPIENTS} WHERE secret IS NOT NULL")
    must(secrets == 0, f"{secrets} passwords are still kept")
    answer = json.loads(
        php(str(OURS / "logins.php"), str(site.code), text=json.dumps(mailed)).splitlines()[-1]
    )
    must(answer["in"] == users, f"only {answer['in']} of {users} mailed passwords let in")
    must(answer["forced"] == users, f"only {answer['forced']} must change their password")
    found["logged_in"] = answer["in"]
    return found


def _told(message: EmailMessage, side: str) -> tuple[str, str]:
    """What a mail says in its HTML: of a password such as `a&bc;d` core's text part loses a piece,
    and its HTML holds it unescaped."""
    part = message.get_body(("html",))
    said = _SAID.search(str(part.get_content())) if part else None
    must(said is not None, f"a mail to {message['To']} tells no password")
    assert said is not None
    return said[1], said[2] if side == "by_cron" else html.unescape(said[2])


class Beside:
    """Cron with core's task, once a second, until it is stopped."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="password-cron", daemon=True)
        self._fault: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        try:
            db = self._site.db()
            while not self._stop.is_set():
                begun = time.monotonic()
                cron.run_once(self._site, db, task=TASK)
                self._stop.wait(max(0.0, 1.0 - (time.monotonic() - begun)))
            db.close()
        except Exception as error:
            self._fault = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(360)
        if self._fault is not None:
            raise ProofError(f"cron: {self._fault}") from self._fault
