"""The one error hierarchy: a root, a parent for each subsystem; a docstring is the default text."""


class SidecarError(Exception):
    """The sidecar cannot go on."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class ConfigError(SidecarError):
    """The configuration is wrong; the message names the key and the file."""

    exit_code = 2


class DatabaseError(SidecarError):
    """The database cannot be used as configured."""

    exit_code = 2


class StoreError(SidecarError):
    """Our own tables refuse what was asked."""


class LeaseLostError(StoreError):
    """Another sidecar leads this site now; nothing more is written."""


class NotFoundError(StoreError):
    """There is no such job, batch or company."""


class SchemaMissingError(StoreError):
    """The manireports_cloud_* tables are missing: install the plugin or run `schema --create`."""


class IdentityError(StoreError):
    """This database was copied or moved: run `adopt --moved` or `adopt --copy`."""


class MoodleError(SidecarError):
    """Something of Moodle's cannot be read or reproduced."""


class HeadersError(MoodleError):
    """The serialized headers of a queued mail are malformed."""


class AddressError(MoodleError):
    """This is no address that mail can be sent to."""


class EncryptionError(MoodleError):
    """A value of Moodle's encryption cannot be read."""


class CampaignError(SidecarError):
    """A campaign's text or data cannot be used; the message is the reason for its author."""


class LockBusyError(MoodleError):
    """Moodle's cron holds the lock of this queue now."""


class LockUnusableError(MoodleError):
    """The site's cron lock cannot be shared safely; nothing is claimed."""


class MessageError(SidecarError):
    """A message of the wire contract is malformed."""


class ConnectorError(SidecarError):
    """A provider did not do what was asked."""

    def __init__(self, message: str | None = None, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Throttled(ConnectorError):  # noqa: N818 - named in DESIGN §7
    """The provider wants us to slow down."""


class Unavailable(ConnectorError):  # noqa: N818
    """The provider cannot be reached or is in trouble; later may work."""


class AuthFailed(ConnectorError):  # noqa: N818
    """The provider refuses our credentials; an admin has to mend them."""


class Rejected(ConnectorError):  # noqa: N818
    """The provider refuses the request for good."""


class SigningKeyError(ConnectorError):
    """A key that mails are to be signed with cannot be used."""
