"""A lane: one route, the thread that serves it, and the batches that wait for it."""

import threading
from dataclasses import dataclass, field

from sidecar.moodle.mail_settings import Diversion
from sidecar.rota import Rota
from sidecar.routes import Route
from sidecar.store.queue import DueBatch


class Line:
    """Batches that wait, each company's in their order; the company is next that has waited longest
    for its turn, those that had none before all others."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[DueBatch]] = {}
        self._rota: Rota[int] = Rota()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, batch: DueBatch) -> None:
        """At the end of its company's."""
        self._waiting.setdefault(batch.company_id, []).append(batch)

    def take(self) -> DueBatch | None:
        """The next one; None if none waits."""
        company_id = self._rota.next(self._waiting)
        if company_id is None:
            return None
        self._rota.took(company_id)
        batch, *rest = self._waiting.pop(company_id)
        if rest:
            self._waiting[company_id] = rest
        return batch

    def next(self) -> DueBatch | None:
        """What ``take`` would return."""
        company_id = self._rota.next(self._waiting)
        return None if company_id is None else self._waiting[company_id][0]

    def batches(self) -> list[DueBatch]:
        """All that wait."""
        return [batch for batches in self._waiting.values() for batch in batches]

    def clear(self) -> None:
        """Nothing waits; nobody had a turn."""
        self._waiting.clear()
        self._rota.clear()


@dataclass(slots=True)
class Lane:
    """A route, its thread, the batches that wait for it and all that it holds."""

    route: Route
    waiting: Line = field(default_factory=Line)
    holding: dict[int, DueBatch] = field(default_factory=dict)
    diverted: dict[int, Diversion] = field(default_factory=dict)
    handed_at: dict[int, float] = field(default_factory=dict)
    thread: threading.Thread | None = None
