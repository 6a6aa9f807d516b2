"""Python's collector, as suits a process that runs for long."""

import gc

THRESHOLDS = (20_000, 20, 50)
"""New containers until the collector looks at the young ones, and how often it then looks at older
ones too. By default it looks after 700. What a batch is made of is freed without it, so it took 7 %
of the daemon's processor (py-spy) and found next to nothing."""


def collect_seldom() -> None:
    """To be called when all that stays is imported."""
    gc.freeze()  # no collection looks again through all that was imported
    gc.set_threshold(*THRESHOLDS)
