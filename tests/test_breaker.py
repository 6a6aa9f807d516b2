"""The circuit breaker of DESIGN §7."""

from sidecar.breaker import Breaker


def test_waits_longer_each_time_and_recovers() -> None:
    breaker = Breaker()
    now = 0.0
    waits = []
    for _ in range(5):
        wait = breaker.refuse(now, "421 busy", for_good=False)
        waits.append(wait)
        assert breaker.is_open(now)
        now += wait
        assert not breaker.is_open(now)
    assert waits == [5, 30, 120, 300, 300]
    assert breaker.down_for(now) == now
    breaker.accept()
    assert breaker.down_for(now) == 0
    assert breaker.refuse(now, "again", for_good=False) == 5


def test_refusals_of_batches_already_under_way_count_once() -> None:
    breaker = Breaker()
    breaker.refuse(0.0, "down", for_good=False)
    assert breaker.refuse(1.0, "down", for_good=False) == 4
    assert breaker.failures == 1


def test_wrong_keys_wait_long_at_once() -> None:
    assert Breaker().refuse(0.0, "535 bad password", for_good=True) == 300
