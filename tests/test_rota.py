"""Whose turn it is."""

from sidecar.rota import Rota


def test_who_waited_longest_is_next_and_who_had_no_turn_before_all() -> None:
    rota: Rota[str] = Rota()
    assert rota.next([]) is None
    assert rota.next(["b", "a"]) == "b"
    for who in ("b", "a"):
        rota.took(who)
    assert rota.next(["a", "b"]) == "b"
    assert rota.next(["a", "b", "c"]) == "c"
    assert (rota.had_turn("a"), rota.had_turn("c")) == (True, False)
    rota.clear()
    assert rota.next(["a", "b"]) == "a"
