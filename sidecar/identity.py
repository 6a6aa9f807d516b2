"""Is this the site that this sidecar belongs to? A copy must never send (DESIGN §3)."""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from sqlalchemy import URL

from sidecar.errors import ConfigError, IdentityError
from sidecar.settings import Settings
from sidecar.store.engines import PORTS
from sidecar.store.site import SiteRow


def fingerprint(settings: Settings, url: URL) -> str:
    """SHA-256 over what a copied site changes: wwwroot, database host and name."""
    socket = url.query.get("unix_socket") or url.query.get("host", "")
    host = f"{url.host or socket}:{url.port or PORTS.get(url.get_backend_name(), 3306)}"
    facts = "\x1f".join((settings.wwwroot.rstrip("/"), host, url.database or ""))
    return hashlib.sha256(facts.encode()).hexdigest()


class StateDir:
    """``state_dir``: remembers across restarts which site this sidecar serves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path / "site.json"

    def site_uid(self) -> str:
        """The remembered site; '' if none. Raises ConfigError when it cannot be read."""
        try:
            return str(json.loads(self._file.read_text("utf-8"))["site_uid"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"state_dir: {self._file} cannot be read: {error}") from error

    def remember(self, site_uid: str) -> None:
        """Write the site down, unless it is: a full disk then keeps nobody from leading.

        Raises ConfigError naming the folder when that is impossible.
        """
        with suppress(ConfigError):  # what cannot be read is written anew
            if self.site_uid() == site_uid:
                return
        temporary = self._path / f".site.{secrets.token_hex(4)}"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"site_uid": site_uid}) + "\n", "utf-8")
            os.replace(temporary, self._file)  # noqa: PTH105 - atomic
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise ConfigError(f"state_dir: {self._path} is not writable: {error}") from error


def verify(row: SiteRow, state: StateDir, expected: str) -> None:
    """Raise IdentityError unless the site is ours; an empty state directory knows no other."""
    if row.fingerprint != expected:
        raise IdentityError(
            "this database belongs to another site (wwwroot, database host or name differ):"
            " run `adopt --moved` if the site has moved, `adopt --copy` if this is a copy"
        )
    known = state.site_uid()
    if known and known != row.site_uid:
        raise IdentityError(
            "the state directory remembers another site than this database:"
            " run `adopt --moved` or `adopt --copy`"
        )
