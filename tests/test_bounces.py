"""Who is to blame for a permanent refusal."""

import pytest

from sidecar.bounces import blames_address


@pytest.mark.parametrize(
    "code",
    ["bad_address", "bounce", "complaint", "550", "551", "553", "550 5.1.1", "554 5.1.10"],
)
def test_the_address(code: str) -> None:
    assert blames_address(code)


@pytest.mark.parametrize(
    "code",
    ["", "suppressed", "552", "552 5.3.4", "550 5.7.1", "554 5.7.26", "invalid", "expired", "lost"],
)
def test_the_mail_its_sender_or_a_policy(code: str) -> None:
    assert not blames_address(code)
