"""Temporary passwords: any policy is satisfied, and PHP accepts what is stored."""

import json
import string
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.password_hash import HashError, crypt, hash_password, newest_pepper
from sidecar.moodle.password_policy import (
    DIGITS,
    LENGTH,
    LOWER,
    OTHER,
    UPPER,
    Policy,
    by_policy,
    of_words,
    site_policy,
)
from tests.moodle.php import run

few = st.integers(0, 25)
policies = st.builds(
    Policy,
    length=st.integers(0, 120),
    digits=few,
    lower=few,
    upper=few,
    other=few,
    longest_run=st.integers(0, 3),
)


@given(policies)
def test_a_generated_password_satisfies_any_policy(policy: Policy) -> None:
    password = by_policy(policy)
    assert len(password) >= max(policy.length, LENGTH)
    kinds = {DIGITS: policy.digits, LOWER: policy.lower, UPPER: policy.upper, OTHER: policy.other}
    for kind, least in kinds.items():
        assert sum(character in kind for character in password) >= least
    assert set(password) <= set("".join(kinds))
    if policy.longest_run:
        assert max(len(list(run)) for _, run in groupby(password)) <= policy.longest_run


def test_passwords_differ() -> None:
    assert len({by_policy(Policy()) for _ in range(200)}) == 200


@given(st.lists(st.text(string.ascii_letters, min_size=1, max_size=12), min_size=1, max_size=5))
def test_words_make_a_password_of_at_most_ten_characters(words: list[str]) -> None:
    password = of_words(words)
    assert 1 < len(password) <= LENGTH
    assert any(f"{word}"[:LENGTH] == password[: len(word)] for word in words)


@pytest.mark.parametrize(
    ("core", "policy"),
    [
        ({}, Policy()),
        ({"passwordpolicy": "0"}, None),
        ({"passwordpolicy": "1", "minpasswordlength": "14", "minpasswordupper": "0"},
         Policy(length=14, upper=0)),
        ({"passwordpolicy": "1", "maxconsecutiveidentchars": "2"}, Policy(longest_run=2)),
    ],
)  # fmt: skip
def test_the_policy_is_the_sites(core: dict[str, str], policy: Policy | None) -> None:
    assert site_policy(MoodleConfig(core, {}, frozenset())) == policy


def test_php_verifies_what_is_stored() -> None:
    pairs = [(p, hash_password(p, "pepper-é")) for p in (by_policy(Policy()), "ü'\"<&>", "x" * 120)]
    assert len({stored[:33] for _, stored in pairs}) == 3  # a salt each
    code = (
        "foreach (json_decode(stream_get_contents(STDIN)) as [$p, $h])"
        " echo (int) password_verify($p . 'pepper-é', $h), (int) password_verify($p, $h);"
    )
    assert run(code, stdin=json.dumps(pairs).encode()) == b"101010"
    assert all(stored.startswith("$6$rounds=5000$") for _, stored in pairs)
    assert crypt("ü'\"<&>pepper-é", pairs[1][1]) == pairs[1][1]


@pytest.mark.parametrize(
    ("peppers", "newest"),
    [(None, ""), ([], ""), ({}, ""), (["a", "b"], "b"), ({"2": "b", "10": "c", "1": "a"}, "c"),
     ({"1": "a", "2": ""}, ""), ("no array", "")],
)  # fmt: skip
def test_the_newest_pepper(peppers: object, newest: str) -> None:
    assert newest_pepper({"passwordpeppers": peppers}, frozenset()) == newest


def test_peppers_that_nobody_can_read_stop_everything() -> None:
    with pytest.raises(HashError, match="passwordpeppers cannot be read"):
        newest_pepper({}, frozenset({"passwordpeppers"}))
    with pytest.raises(HashError, match="numbered"):
        newest_pepper({"passwordpeppers": {"x": "secret"}}, frozenset())
