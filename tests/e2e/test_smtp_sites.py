"""SMTP as sites have it: a dead first host, DKIM, OAuth at one company, a moody server."""

import re
from base64 import b64encode
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.sink import Rule
from tests.e2e.world import World
from tests.support.wait import wait_for

NOREPLY = "noreply@learn.example.test"


def test_a_dead_first_host_a_key_and_a_company_with_oauth(world: World, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    public = b64encode(
        key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    )
    folder = tmp_path / "moodledata" / "dkim" / "learn.example.test"
    folder.mkdir(parents=True)
    private = folder / "own.private"
    private.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )
    for name, value in {
        "noreplyaddress": NOREPLY,
        "smtphosts": f"127.0.0.1:1;127.0.0.1:{world.sink.port}",
        "emaildkimselector": "site",
        "emaildkimselector1": "own",
        "smtphosts2": "smtp.office365.example:587",
        "smtpuser2": "mailer",
        "smtpauthtype2": "XOAUTH2",
    }.items():
        world.site.set_config(name, value)
    world.site.add_company(2, "Globex & Søn")
    world.command("company", "set", "2", "--provider", "smtp", "--enable")
    for company in (1, 2):
        world.site.queue("user_create", company, world.site.add_users(company, 12))

    def record(name: bytes, timeout: int = 5) -> bytes | None:
        ours = name == b"own._domainkey.learn.example.test."
        return b"v=DKIM1; p=" + public if ours else None

    world.drain()
    assert len(world.sink.messages) == 12
    assert world.unsent() == 12  # Moodle's cron sends them, by OAuth
    for message in world.sink.messages:
        assert dkim.verify(message.data, dnsfunc=record)

    check = world.command("check", ok=False)
    assert said(check, "ok", f"company 1 .*127.0.0.1:{world.sink.port} sink ESMTP")
    assert said(check, "warn", "company 1 .*cannot be used: 127.0.0.1:1: ")
    assert said(check, "ok", r"company 1 .*is signed \(DKIM own\)")
    assert said(check, "FAIL", "company 2 .*XOAUTH2, whose tokens only Moodle has")
    private.unlink()
    check = world.command("check", ok=False)
    assert said(check, "warn", "company 1 .*without DKIM signature: there is no .*own.private")


def test_a_server_that_lets_us_in_now_and_then_is_not_left_alone_for_long(world: World) -> None:
    one = {"smtp_connections": 1, "smtp_max_connections": 1}
    world.config = world.write_config(world.url, **one)
    world.sink.rules = [
        Rule("dot", "250 2.0.0 taken", drop=True, keep=True),
        *(Rule("connect", drop=True, skip=passed, times=1) for passed in (1, 2)),
    ]
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as daemon:
        wait_for(lambda: world.states() == {"sent": 12}, 60, "all mails are sent")
        assert daemon.stop() == 0
    waits = re.findall(r"waits (\d+) s: .*the server closed", daemon.output())
    assert waits == ["5", "5"], "mail went out between them: the server is not down"


def said(check: str, level: str, pattern: str) -> bool:
    """Whether ``check`` has a line of this level that fits."""
    return bool(re.search(f"^{level} .*{pattern}", check, re.MULTILINE))
