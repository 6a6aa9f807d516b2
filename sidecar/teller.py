"""Reasons that stand, logged now and then."""

import logging
import time

log = logging.getLogger(__name__)

TELL_SECONDS = 600.0
"""How often a reason that stands is logged again."""


class Teller:
    """Logs a standing reason once, not with every cycle."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, text: str, reason: str) -> None:
        """Warn, unless the same was said lately."""
        key, now = f"{text}{reason}", time.monotonic()
        if now - self._told.get(key, -TELL_SECONDS) >= TELL_SECONDS:
            self._told[key] = now
            log.warning(text, reason)
