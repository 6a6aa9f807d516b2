"""PHP's serialize(), as far as IOMAD's queue needs it (FACTS §3)."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StdClass:
    """An object of PHP's stdClass with these fields, in their order."""

    fields: Mapping[str, "Php"]


Php = None | bool | int | str | Mapping[int | str, "Php"] | StdClass


def serialize(value: Php) -> str:
    """What PHP's serialize() gives for a value; mappings become arrays, lengths count bytes."""
    match value:
        case None:
            return "N;"
        case bool():
            return f"b:{value:d};"
        case int():
            return f"i:{value};"
        case str():
            return f's:{len(value.encode())}:"{value}";'
        case StdClass(fields):
            return f'O:8:"stdClass":{_members(fields)}'
        case _:
            return f"a:{_members(value)}"


def _members(members: Mapping[int | str, Php] | Mapping[str, Php]) -> str:
    inner = "".join(serialize(key) + serialize(value) for key, value in members.items())
    return f"{len(members)}:{{{inner}}}"
