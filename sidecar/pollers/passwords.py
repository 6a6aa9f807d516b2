"""Passwords made ahead of a claim, on every core, so that no lock is held while they are hashed."""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.password_hash import HashError, hash_password, newest_pepper
from sidecar.moodle.password_policy import Policy, by_policy, of_words, site_policy
from sidecar.settings import Settings

SLICE = 10
"""Passwords that a thread makes in one go."""


@dataclass(frozen=True, slots=True)
class Password:
    """A new password and its hash; whose it is has not been decided."""

    clear: str = field(repr=False)
    hashed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How this site's passwords are made. policy: None if words make them."""

    policy: Policy | None
    words: Sequence[str] = field(default=(), repr=False)
    pepper: str = field(default="", repr=False)

    def make(self, number: int) -> list[Password]:
        """So many new passwords; raises HashError."""
        return [self._one() for _ in range(number)]

    def _one(self) -> Password:
        clear = of_words(self.words) if self.policy is None else by_policy(self.policy)
        return Password(clear, hash_password(clear, self.pepper))


def site_recipe(config: MoodleConfig, settings: Settings) -> Recipe:
    """The recipe of this site; raises HashError if its passwords cannot be made as Moodle does."""
    pepper = newest_pepper(settings.moodle_config, settings.moodle_config_unread)
    policy = site_policy(config)
    hash_password("", pepper)  # whether this system can
    if policy is not None:
        return Recipe(policy, pepper=pepper)
    return Recipe(None, _words(settings), pepper)


def _words(settings: Settings) -> Sequence[str]:
    named = settings.moodle_config.get("wordlist")
    folder = settings.moodle_dir
    if not isinstance(named, str) and folder is None:
        raise HashError("the password policy is off, so core's word list is needed: set moodle_dir")
    if isinstance(named, str) or folder is None:
        path = str(named)
    else:
        code = folder / "public" if (folder / "public" / "lib").is_dir() else folder
        path = str(code / "lib" / "wordlist.txt")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - any text
            words = tuple(word for line in file if (word := line.strip()))
    except OSError as error:
        raise HashError(f"core's word list {path} cannot be read ({error.strerror})") from None
    if not words:
        raise HashError(f"core's word list {path} is empty")
    return words


class Mint:
    """Makes passwords in threads, some ahead."""

    def __init__(self, threads: int = 0) -> None:
        """threads: 0 = one for each core."""
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, "passwords")
        self._recipe: Recipe | None = None
        self._ordered: deque[Future[list[Password]]] = deque()
        self._stock: list[Password] = []

    def order(self, recipe: Recipe, number: int) -> None:
        """Have at least so many at hand or in the making; what another recipe made is dropped."""
        if recipe != self._recipe:
            self._recipe = recipe
            self._ordered.clear()
            self._stock.clear()
        while len(self._stock) + SLICE * len(self._ordered) < number:
            self._ordered.append(self._pool.submit(recipe.make, SLICE))

    def gather(self, number: int) -> None:
        """Wait until so many of those that were ordered are at hand; raises HashError."""
        while len(self._stock) < number and self._ordered:
            self._stock += self._ordered.popleft().result()

    def take(self, number: int) -> list[Password]:
        """So many, made now if they are not at hand; nobody gets them again. Raises HashError."""
        if self._recipe is not None:
            self.order(self._recipe, number)
        self.gather(number)
        taken, self._stock = self._stock[:number], self._stock[number:]
        return taken
