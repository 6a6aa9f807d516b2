"""Moodle's mail settings: which servers, and what stays with Moodle because only it can send."""

import pytest

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import MailServer, MailSettingsError, mail_route


def config(**core: str) -> MoodleConfig:
    return MoodleConfig(core, {}, frozenset())


def server(host: str, port: int = 25, secure: str = "") -> MailServer:
    return MailServer(host, port, secure, "", "", "")


@pytest.mark.parametrize(
    ("hosts", "servers"),
    [
        ("mail", [server("mail", 25, "tls")]),
        ("a;b:587", [server("a", 25, "tls"), server("b", 587, "tls")]),
        (" a:2525 ; ;b; ", [server("a", 2525, "tls"), server("b", 25, "tls")]),
        ("ssl://a:465;tls://b:587", [server("a", 465, "ssl"), server("b", 587, "tls")]),
        ("[2001:db8::1]:587", [server("2001:db8::1", 587, "tls")]),
    ],
)
def test_hosts_are_read_as_phpmailer_reads_them(hosts: str, servers: list[MailServer]) -> None:
    route = mail_route(config(smtphosts=hosts, smtpsecure="tls"), 1)
    assert list(route.servers) == servers
    assert not route.assumed


def test_a_company_has_servers_and_a_key_of_its_own() -> None:
    site = config(
        smtphosts="site", smtphosts2="own:465", emaildkimselector="s1", emaildkimselector2="s2"
    )
    assert [mail_route(site, company).servers[0].host for company in (0, 1, 2)] == [
        *("site", "site", "own"),
    ]
    assert [mail_route(site, company).dkim_selector for company in (0, 1, 2)] == ["s1", "s1", "s2"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"smtphosts": "a", "smtpuser": "u", "smtpauthtype": "XOAUTH2"}, "tokens only Moodle has"),
        ({"smtphosts": "a", "smtpuser": "u", "smtpauthtype": "NTLM"}, "'NTLM' is not one of"),
        ({"smtphosts": "qmail"}, "a program that only Moodle calls"),
        ({"smtphosts": " ; "}, "names no server"),
        ({"smtphosts": "a;b c"}, "'b c' is not a server"),
        ({"smtphosts": "a:99999"}, "'a:99999' is not a server"),
        ({"smtphosts": "http://a"}, "'http://a' is not a server"),
    ],
)
def test_what_only_moodle_can_send_by_stays_with_it(settings: dict[str, str], says: str) -> None:
    with pytest.raises(MailSettingsError, match=says):
        mail_route(config(**settings), 1)


def test_oauth_of_one_company_concerns_only_its_mail() -> None:
    site = config(smtphosts="a", smtpuser="u", smtppass="p", smtpauthtype2="XOAUTH2")
    assert mail_route(site, 1).servers[0].user == "u"
    with pytest.raises(MailSettingsError, match="XOAUTH2"):
        mail_route(site, 2)


def test_no_host_is_phps_mail_unless_localhost_proves_itself() -> None:
    assert mail_route(config(), 1).assumed
