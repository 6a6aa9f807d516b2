"""Temporary passwords as core makes them: by the site's password policy, or of two words. Pure.

Source: generate_password, check_password_policy and check_consecutive_identical_characters in
lib/moodlelib.php of Moodle 4.3. Differences: the randomness is that of ``secrets``, and a limit on
equal characters in a row is kept as well, which core's own generator forgets.
"""

import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.moodle.config import MoodleConfig

LENGTH = 10
"""Characters of a password, unless the policy asks for more."""

LOWER = string.ascii_lowercase
UPPER = string.ascii_uppercase
DIGITS = string.digits
OTHER = ".,;:!?_-+/*@#&$"
"""PASSWORD_NONALPHANUM."""

Generator = Callable[[], str]
"""Makes a new password with each call."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a password must have at least: its length, and characters of four kinds.

    longest_run: equal characters in a row that are allowed, 0 = any number.
    """

    length: int = 8
    digits: int = 1
    lower: int = 1
    upper: int = 1
    other: int = 1
    longest_run: int = 0


_SETTINGS = {
    "length": "minpasswordlength",
    "digits": "minpassworddigits",
    "lower": "minpasswordlower",
    "upper": "minpasswordupper",
    "other": "minpasswordnonalphanum",
    "longest_run": "maxconsecutiveidentchars",
}


def site_policy(config: MoodleConfig) -> Policy | None:
    """The site's password policy; None if it is off. What is not set has core's default."""
    if config.text("passwordpolicy") == "0":
        return None
    said = {field: name for field, name in _SETTINGS.items() if config.text(name)}
    return Policy(**{field: max(0, config.number(name)) for field, name in said.items()})


def by_policy(policy: Policy) -> str:
    """A password that satisfies ``policy``."""
    kinds = (
        (LOWER, policy.lower),
        (UPPER, policy.upper),
        (DIGITS, policy.digits),
        (OTHER, policy.other),
    )
    total = sum(number for _, number in kinds)
    missing = max(policy.length, total, LENGTH) - total
    chosen = [character for kind, number in kinds for character in _some(kind, number)]
    chosen += _some("".join(kind for kind, _ in kinds), missing)
    while (password := _shuffled(chosen, policy.longest_run)) is None:
        continue
    return password


def of_words(words: Sequence[str]) -> str:
    """Two words with a digit between them, cut to LENGTH characters. words: at least one."""
    first, second = secrets.choice(words).strip(), secrets.choice(words).strip()
    return f"{first}{secrets.choice(DIGITS)}{second}"[:LENGTH]


def _some(alphabet: str, number: int) -> list[str]:
    """So many characters, each as often as any other, give or take one."""
    rounds, rest = divmod(number, len(alphabet))
    return [*(alphabet * rounds), *secrets.SystemRandom().sample(alphabet, rest)]


def _shuffled(characters: Sequence[str], longest_run: int) -> str | None:
    """The characters in random order; None if that led to more equal ones in a row than may be."""
    left, password = list(characters), ""
    while left:
        run = password[-longest_run:] if longest_run else ""
        barred = run[0] if run and len(run) == longest_run and len(set(run)) == 1 else ""
        fitting = [number for number, character in enumerate(left) if character != barred]
        if not fitting:
            return None
        password += left.pop(secrets.choice(fitting))
    return password
