"""Splitting mails into messages: nothing lost, nothing moved, nothing too large."""

import random
import secrets
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.mail import Address, Attachment, Content, Mail, MailBatch
from sidecar.message import SigningKey, encode_batch
from sidecar.packing import OVERHEAD, UNPACKED, mail_bytes, pack, pack_all
from tests.connectors.mails import make_mail
from tests.contract.strategies import mail_lists

SQS, SMALL = 1_048_576, 128_000
MOST = 2**63 - 1
KEY = SigningKey("\\" * 64, "secret")
BATCH = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def message_size(mails: Sequence[Mail], batch_key: str = "") -> int:
    """Bytes of the message of these mails, every other field as long as it can be."""
    key = batch_key or secrets.token_hex(16)
    batch = MailBatch(MOST, key, MOST, MOST, MOST, tuple(mails), "😀" * 50, MOST, MOST)
    return len(encode_batch(batch, '"' * 64, KEY, MOST))


def noise(size: int, seed: int = 1) -> Content:
    """What cannot be compressed: an attachment of ``size`` random bytes."""
    random_bytes = random.Random(seed).randbytes(size)
    return Content("s", "h", "t", (Attachment("a.bin", "x/y", random_bytes),))


def welcome(number: int, words: int = 600) -> Mail:
    """A mail of the kind that an import makes, about 5 KB."""
    chosen = random.Random(number)
    prose = " ".join(f"{chosen.getrandbits(24):x}" for _ in range(words))
    content = Content("Welcome", f"<p>Dear user {number},</p><p>{prose}</p>", f"Dear {number}")
    return make_mail(content=content, mail_key=chosen.randbytes(32).hex())


@given(mails=mail_lists(max_size=20), room=st.integers(200, 5_000), batch_size=st.integers(1, 10))
def test_nothing_is_lost_moved_doubled_or_too_large(
    mails: list[Mail], room: int, batch_size: int
) -> None:
    limit = OVERHEAD + room
    packed = pack(mails, limit=limit, batch_size=batch_size, batch_key=BATCH)
    unfit = {id(mail) for mail in packed.too_large}
    fit = [mail for mail in mails if id(mail) not in unfit]
    assert [id(mail) for group in packed.groups for mail in group] == [id(mail) for mail in fit]
    assert [id(m) for m in packed.too_large] == [id(m) for m in mails if id(m) in unfit]
    for group in packed.groups:
        assert 0 < len(group) <= batch_size
        assert message_size(group) <= limit
    for mail in packed.too_large:
        assert message_size([mail]) > limit - OVERHEAD
    assert packed.first == (pack_all(packed.groups[0], BATCH) if packed.groups else None)


@pytest.mark.parametrize("limit", [SMALL, 262_144, SQS])
def test_the_first_group_is_compressed_as_it_would_be_alone(limit: int) -> None:
    mails = [welcome(number) for number in range(100)]
    packed = pack(mails, limit=limit, batch_size=100, batch_key=BATCH)
    assert packed.first == pack_all(packed.groups[0], BATCH)
    batch = MailBatch(MOST, BATCH, MOST, MOST, MOST, packed.groups[0], "😀" * 50, MOST, MOST)
    made = encode_batch(replace(batch, mails=(), packed=packed.first), '"' * 64, KEY, MOST)
    assert made == encode_batch(batch, '"' * 64, KEY, MOST)
    assert len(made) <= limit


@given(mails=mail_lists(max_size=20))
def test_what_fits_goes_in_one_message(mails: list[Mail]) -> None:
    packed = pack(mails, limit=SQS, batch_size=100, batch_key=BATCH)
    assert packed.groups == (tuple(mails),)
    assert not packed.too_large


@pytest.mark.parametrize("limit", [SMALL, 262_144, SQS])
def test_a_large_batch_fills_its_messages(limit: int) -> None:
    mails = [welcome(number) for number in range(300)]
    packed = pack(mails, limit=limit, batch_size=1_000, batch_key=BATCH)
    sizes = [message_size(group) for group in packed.groups]
    assert [mail for group in packed.groups for mail in group] == mails
    assert max(sizes) <= limit
    assert min(sizes[:-1], default=limit) > limit - 12_000


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_a_group_has_at_most_batch_size_mails(batch_size: int) -> None:
    mails = [welcome(number, words=5) for number in range(150)]
    packed = pack(mails, limit=SQS, batch_size=batch_size, batch_key=BATCH)
    full, rest = divmod(150, batch_size)
    assert [len(group) for group in packed.groups] == [batch_size] * full + [rest] * bool(rest)


@pytest.mark.parametrize(
    ("limit", "incompressible"), [(20_000, False), (SMALL, True), (SMALL, False), (SQS, True)]
)
def test_just_under_and_just_over_the_limit(limit: int, incompressible: bool) -> None:
    same = make_mail()

    def mail(size: int) -> Mail:
        if incompressible:
            return replace(same, content=noise(size))
        text = random.Random(1).randbytes(size // 2).hex()
        return replace(same, content=Content("s", text, ""))

    fits, large = 0, limit * 3
    while large - fits > 1:
        middle = (fits + large) // 2
        if pack([mail(middle)], limit=limit, batch_size=1, batch_key=BATCH).groups:
            fits = middle
        else:
            large = middle
    assert pack([mail(large)], limit=limit, batch_size=1, batch_key=BATCH).too_large
    assert limit - OVERHEAD - 8 <= message_size([mail(fits)]) <= limit


def test_one_mail_that_is_too_large_leaves_the_others_together() -> None:
    huge = make_mail(content=noise(SQS))
    before, after = [welcome(1), welcome(2)], [welcome(3)]
    packed = pack([*before, huge, *after], limit=SQS, batch_size=100, batch_key=BATCH)
    assert packed.groups == ((*before, *after),)
    assert packed.too_large == (huge,)


def test_mails_of_one_row_stay_together() -> None:
    rows = [noise(9_000, seed) for seed in range(10)]
    mails = [make_mail(content=row) for row in rows for _ in range(3)]
    packed = pack(mails, limit=60_000, batch_size=100, batch_key=BATCH)
    assert len(packed.groups) > 1
    for group in packed.groups:
        assert len(group) % 3 == 0
    packed = pack(mails, limit=SQS, batch_size=10, batch_key=BATCH)
    assert [len(group) for group in packed.groups] == [9, 9, 9, 3]


def test_however_well_mails_compress_a_worker_can_unpack_their_message() -> None:
    def large(size: int) -> Content:
        return Content("s", "x" * size, "t")

    row = large(UNPACKED // 2)  # two mails of one row
    contents = [*(large(UNPACKED // 4) for _ in range(5)), row, row, large(UNPACKED + 1)]
    mails = [make_mail(content=content) for content in contents]
    packed = pack(mails, limit=SQS, batch_size=100, batch_key=BATCH)
    assert not packed.too_large
    assert [mail for group in packed.groups for mail in group] == mails
    assert [len(group) for group in packed.groups] == [3, 2, 1, 1, 1]


@pytest.mark.parametrize("text", ["x", "ü", "😀"])
def test_a_mail_just_within_its_senders_limit_leaves_and_one_byte_more_does_not(text: str) -> None:
    """However well it compresses."""
    small = make_mail(content=Content("s", "h", "t"), subject_prefix="[copy] ")
    rest = mail_bytes(small) - 1
    fill = 5_000_000 - rest
    size = len(text.encode())
    html = text * (fill // size) + "." * (fill % size)
    file = Attachment("a.bin", "x/y", b"x" * 998)  # 1,332 in base64
    fits = replace(small, content=Content("s", html, "t"))
    larger = replace(small, content=Content("s", f"{html}.", "t"))
    cut = html[: len(html) - fill % size - 1332 // size] + "." * (fill % size)
    filed = replace(small, content=Content("s", cut, "t", (file,)))
    assert (mail_bytes(fits), mail_bytes(larger)) == (5_000_000, 5_000_001)
    assert mail_bytes(filed) == 5_000_000
    mails = [small, larger, fits, filed]
    packed = pack(mails, limit=SMALL, batch_size=9, batch_key=BATCH, mail_limit=5_000_000)
    assert packed.too_large == (larger,)
    assert [m for group in packed.groups for m in group] == [small, fits, filed]
    assert not pack(mails, limit=SMALL, batch_size=9, batch_key=BATCH).too_large


def test_a_row_that_is_too_large_for_one_message_is_split() -> None:
    row = noise(60_000)  # farther back than gzip looks: each mail takes its full size
    mails = [make_mail(content=row) for _ in range(5)]
    packed = pack(mails, limit=SMALL, batch_size=100, batch_key=BATCH)
    assert [len(group) for group in packed.groups] == [1] * 5
    assert not packed.too_large


def test_a_long_sender_is_counted() -> None:
    sender = Address("a@b.test", '"' * 5_000)  # four bytes each, a quote in a string in a string
    mails = [make_mail(content=noise(6_000, seed), sender=sender) for seed in range(9)]
    for limit in range(40_000, 60_000, 2_000):
        packed = pack(mails, limit=limit, batch_size=100, batch_key=BATCH)
        assert sum(map(len, packed.groups)) == 9
        assert max(map(message_size, packed.groups)) <= limit
    assert pack(mails, limit=20_000, batch_size=100, batch_key=BATCH).too_large == tuple(mails)


def test_the_reserve_covers_the_longest_fields_and_any_batch_key() -> None:
    mails = [
        replace(make_mail(content=noise(26_000, seed)), mail_key=secrets.token_hex(32))
        for seed in range(100)
    ]
    sizes = [message_size(mails, secrets.token_hex(16)) for _ in range(5)]
    bare = MailBatch(1, secrets.token_hex(16), 1, 1, 1, tuple(mails))
    fields = message_size(mails, bare.batch_key) - len(encode_batch(bare, "", KEY, 1))
    assert fields < 1_500
    assert max(sizes) - min(sizes) < 500
    assert max(message_size(mails, digit * 32) for digit in "0f") < max(sizes)


def test_no_mails_make_no_group() -> None:
    packed = pack([], limit=SQS, batch_size=100, batch_key=BATCH)
    assert (packed.groups, packed.too_large) == ((), ())


def test_what_is_packed_is_not_shown() -> None:
    secret = make_mail(content=Content("s", "Kx7pQ", "Kx7pQ"))
    assert "Kx7pQ" not in repr(pack([secret], limit=SQS, batch_size=1, batch_key=BATCH))
    assert "Kx7pQ" not in repr(pack([secret], limit=10, batch_size=1, batch_key=BATCH))
