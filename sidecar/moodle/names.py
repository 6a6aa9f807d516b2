"""How Moodle writes a person's name. Pure.

Source: core_user::get_fullname of Moodle 4.3. The order that a language pack prescribes is not
known here: where the site leaves it to the language, it is first name, last name.
"""

import re
from collections.abc import Mapping

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.tables import EXTRA_NAMES

# The order in which Moodle fills a template in: "firstnamephonetic" holds "firstname".
_FIELDS = (*EXTRA_NAMES, "firstname", "lastname")
_EMPTY = re.compile(
    r"""[\]\[!"#$%&'()*+,./:;<=>?@\\^_`{|}~「」-]*EMPTY[\]\[!"#$%&'()*+,./:;<=>?@\\^_`{|}~「」-]*"""
)
_BLANKS = re.compile(r"\s{2,}")


def full_name(config: MoodleConfig, names: Mapping[str, str], *, override: bool = False) -> str:
    """A user's display name. names: firstname, lastname and those of EXTRA_NAMES.

    override: as for eyes that may see everything (``alternativefullnameformat``), else as for
    everybody (``fullnamedisplay``, ``forcefirstname``, ``forcelastname``).
    """
    names = dict(names)
    template = config.text("alternativefullnameformat" if override else "fullnamedisplay")
    if not override:
        for forced, field in (("forcefirstname", "firstname"), ("forcelastname", "lastname")):
            if config.flag(forced):
                names[field] = config.text(forced)
    if template in ("", "language"):
        return f"{names['firstname']} {names['lastname']}"
    # One pass: a name that reads like a field's is no field.
    shown = re.sub("|".join(_FIELDS), lambda found: names.get(found[0]) or "EMPTY", template)
    shown = _BLANKS.sub(" ", _EMPTY.sub(" ", shown)).strip()
    return shown or names["firstname"]
