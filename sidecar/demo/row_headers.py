"""The ``headers`` of a queued row as IOMAD serializes them (EmailTemplate::queue_for_cron)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.demo.php_serialize import Php, StdClass, serialize

_SWITCHES = ("disabled", "disabledmanager", "disabledsupervisor")
_REPEATS = ("repeatperiod", "repeatvalue", "repeatday")
_OF_A_STORED_TEMPLATE = ("id", "companyid", "lang")
_FIELDS = (
    *("id", "companyid", "name", "lang", "subject", "body", "signature"),
    *_SWITCHES,
    *("emailto", "emailtoother", "emailcc", "emailccother"),
    *("emailfrom", "emailfromother", "emailreplyto", "emailreplytoother"),
    *_REPEATS,
    "emailfromothername",
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on the Moodle host that goes with a mail."""

    filepath: str
    filename: str


def row_headers(
    template: Mapping[str, str],
    *,
    to: Sequence[str] = (),
    cc: Sequence[str] = (),
    reply_to: Sequence[str] = (),
    attachment: Attachment | None = None,
) -> str:
    """The serialized value; ``template`` holds fields by IOMAD's names, unset ones are empty.

    As in IOMAD's rows, switches that are off are the integer 0, everything else is a string, and
    a template that is not stored lacks id, company and language.
    """
    lines = [
        *(f"To:{a}" for a in to),
        *(f"Cc:{a}" for a in cc),
        *(f"reply-to:{a}" for a in reply_to),
    ]
    fields: dict[str, Php] = {}
    for name in _FIELDS:
        if name in _OF_A_STORED_TEMPLATE and name not in template:
            continue
        value = template.get(name, "")
        off = name in (*_SWITCHES, *_REPEATS) and value in ("", "0")
        fields[name] = 0 if off else value
    members: dict[int | str, Php] = {}
    if attachment is not None:
        file = {"filepath": attachment.filepath, "filename": attachment.filename}
        members["attachment"] = StdClass(file)
    members |= dict(enumerate(lines))
    members["template"] = StdClass(fields)
    return serialize(members)
