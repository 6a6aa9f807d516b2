"""PHP's view of its plain values, where Moodle's code depends on it. Pure."""

Scalar = str | int | float | bool | None


def is_empty(value: object) -> bool:
    """PHP's ``empty()``: also ``'0'``, but not ``'0.0'`` or ``' '``."""
    return value in (None, 0, "", "0", [], {})


def to_string(value: object) -> str:
    """PHP's string conversion of a null, boolean, number or string."""
    if value is None or value is False:
        return ""
    return "1" if value is True else str(value)
