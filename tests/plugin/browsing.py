"""A Moodle under PHP's own web server, and somebody who looks at its pages."""

from __future__ import annotations

import html
import http.cookiejar
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Self

from tests.iomad.facts import must, wait_for

TROUBLE = re.compile(rb"PHP (?:Fatal error|Parse error|Warning|Notice|Deprecated):[^\n]*")


class Web:
    """`with Web(code, port, log) as web:`; the port is the one of the site's wwwroot."""

    def __init__(self, code: Path, port: int, log: Path) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._code, self._port, self._log = code, port, log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        settings = {
            "max_input_vars": 5000, "opcache.enable_cli": 1,
            "error_reporting": -1, "display_errors": 0, "log_errors": 1,
        }  # fmt: skip
        given = [part for key, value in settings.items() for part in ("-d", f"{key}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["php", *given, "-S", f"127.0.0.1:{self._port}", "-t", str(self._code)],
                cwd=self._code,
                stdout=log,
                stderr=log,
                env={**os.environ, "PHP_CLI_SERVER_WORKERS": "2"},
                start_new_session=True,
            )
        wait_for("the web server answers", self._answers, 60)
        return self

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.base + "/lib/ajax/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 15)
            self._process.wait(30)

    def written(self) -> int:
        """How much of the log there is now."""
        return self._log.stat().st_size

    def troubles(self, since: int) -> list[str]:
        """What PHP complained of, in files of the plugin, since the log was that long."""
        with self._log.open("rb") as log:
            log.seek(since)
            lines = TROUBLE.findall(log.read().replace(b"\0", b""))
        return [line.decode("utf-8", "replace") for line in lines if b"manireports" in line]


class Browser:
    """Somebody who is logged in."""

    def __init__(self, web: Web, username: str, password: str) -> None:
        self.base = web.base
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        token = re.search(r'name="logintoken" value="([^"]+)"', self.get("/login/index.php")[1])
        must(token is not None, "the login page has no token")
        given = {
            "username": username,
            "password": password,
            "logintoken": token[1] if token else "",
        }
        page = self.get("/login/index.php", given)[1]
        found = re.search(r'"sesskey":"([^"]+)"', page)
        must(found is not None and "loginerrormessage" not in page, f"{username} cannot log in")
        self.sesskey = found[1] if found else ""

    def get(self, path: str, post: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text of a page, redirects followed."""
        data = urllib.parse.urlencode(post).encode() if post is not None else None
        try:
            with self._opener.open(self.base + path, data, timeout=120) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")


def visible(page: str) -> str:
    """A page's text without its markup."""
    return html.unescape(re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))
