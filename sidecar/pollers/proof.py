"""Whether a result is signed by a key of the company whose mail it tells of."""

from collections.abc import Callable

from sidecar.errors import SidecarError
from sidecar.message import RESULT, is_signed
from sidecar.moodle.encryption import Vault
from sidecar.store.companies import CallbackKey, Companies
from sidecar.store.inbox import Delivery


class RefusedError(SidecarError):
    """A result that changes nothing."""

    def __init__(self, outcome: str, why: str = "") -> None:
        super().__init__(f"{outcome.replace('_', ' ')} {why}".strip())
        self.outcome = outcome


class Keys:
    """The companies' callback keys with their secrets, decrypted when first needed."""

    def __init__(
        self,
        read: Callable[[], Companies],
        vault: Vault,
        secrets: dict[CallbackKey, str] | None = None,
    ) -> None:
        self._read, self._vault = read, vault
        self.companies = read()
        self._secrets = {} if secrets is None else secrets

    def of_now(self) -> "Keys":
        """The keys read anew: what was fetched before is signed with one of them, or with none."""
        return Keys(self._read, self._vault, self._secrets)

    def owns(self, key: str, company_id: int, now: int) -> bool:
        """Whether it is a key that the company has at ``now``."""
        theirs = self.companies.get(company_id).callback_keys(now)
        return any(key == each.key for each in theirs)

    def prove(self, delivery: Delivery, now: int) -> None:
        """Raise RefusedError unless a key that is valid at ``now`` signed the delivery.

        EncryptionError: the secret cannot be read.
        """
        key = self.companies.find_key(delivery.callback_key, now)
        if key is None:
            raise RefusedError("unknown_key")
        if key not in self._secrets:
            self._secrets[key] = self._vault.reveal(key.secret)
        if not is_signed(
            RESULT,
            delivery.signed_at,
            delivery.payload,
            delivery.signature,
            [self._secrets[key]],
        ):
            raise RefusedError("bad_signature")
