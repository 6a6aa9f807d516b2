"""The axes of the dashboard's picture have round numbers."""

import pytest

from scripts.draw_dashboard import mark, ticks


@pytest.mark.parametrize(
    ("most", "unit", "shown"),
    [
        (746.9, "short", ["0", "200", "400", "600", "800"]),
        (3, "short", ["0", "1", "2", "3"]),
        (1, "short", ["0", "0.5", "1"]),
        (12_345, "short", ["0", "5000", "10000", "15000"]),
        (0.37, "s", ["0", "100 ms", "200 ms", "300 ms", "400 ms"]),
        (7, "s", ["0", "2 s", "4 s", "6 s", "8 s"]),
        (1_000, "s", ["0", "5 min", "10 min", "15 min", "20 min"]),
        (0.034, "percentunit", ["0", "1 %", "2 %", "3 %", "4 %"]),
        (5e10, "bytes", ["0", "20 GB", "40 GB", "60 GB"]),
    ],
)
def test_round_ticks(most: float, unit: str, shown: list[str]) -> None:
    assert [mark(value, unit) for value in ticks(most, unit)] == shown
