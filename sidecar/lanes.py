"""A lane: one route, the thread that serves it, and the batches that wait for it."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from sidecar.moodle.mail_settings import Diversion
from sidecar.routes import Route
from sidecar.store.queue import DueBatch


class Line:
    """Batches that wait, each company's in their order; the company is next that has waited longest
    for its turn."""

    def __init__(self) -> None:
        self._companies: OrderedDict[int, list[DueBatch]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._companies.values()))

    def put(self, batch: DueBatch) -> None:
        """At the end of its company's."""
        self._companies.setdefault(batch.company_id, []).append(batch)

    def take(self) -> DueBatch | None:
        """The next one; None if none waits."""
        for company_id, batches in self._companies.items():
            if batches:
                self._companies.move_to_end(company_id)
                return batches.pop(0)
        return None

    def next(self) -> DueBatch | None:
        """What ``take`` would return."""
        return next((batches[0] for batches in self._companies.values() if batches), None)

    def batches(self) -> list[DueBatch]:
        """All that wait."""
        return [batch for batches in self._companies.values() for batch in batches]

    def clear(self) -> None:
        """Nothing waits; nobody had a turn."""
        self._companies.clear()


@dataclass(slots=True)
class Lane:
    """A route, its thread, the batches that wait for it and all that it holds."""

    route: Route
    waiting: Line = field(default_factory=Line)
    holding: dict[int, DueBatch] = field(default_factory=dict)
    diverted: dict[int, Diversion] = field(default_factory=dict)
    handed_at: dict[int, float] = field(default_factory=dict)
    thread: threading.Thread | None = None
