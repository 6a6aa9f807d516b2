"""Batches and results of every kind, for property tests."""

from hypothesis import strategies as st

from sidecar.mail import Address, Attachment, Content, Mail, MailBatch
from sidecar.message import BatchResult, BatchStatus, MailResult, MailStatus

HEX = "0123456789abcdef"

numbers = st.integers(0, 2**63 - 1)
ordinals = st.integers(1, 2**63 - 1)
hex32 = st.text(HEX, min_size=32, max_size=32)
hex64 = st.text(HEX, min_size=64, max_size=64)
printable = st.characters(min_codepoint=33, max_codepoint=126)
names = st.text(printable, min_size=1, max_size=64)
lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)

addresses = st.builds(Address, st.text(max_size=30), st.text(max_size=30))
contents = st.builds(
    Content,
    st.text(max_size=400),
    st.text(max_size=200),
    st.text(max_size=50),
    st.lists(
        st.builds(Attachment, st.text(max_size=20), st.just("text/plain"), st.binary(max_size=300)),
        max_size=2,
    ).map(tuple),
)


def mails(rows: st.SearchStrategy[Content]) -> st.SearchStrategy[Mail]:
    """Mails whose contents come from ``rows``."""
    return st.builds(
        Mail,
        id=numbers,
        mail_key=hex64,
        message_id=st.text(printable, max_size=30),
        to=st.text(max_size=30),
        sender=addresses,
        envelope_from=st.just("bounces@moodle.example.test"),
        content=rows,
        reply_to=st.sampled_from(["", "office@example.test"]) | st.text(max_size=20),
        headers=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=20)), max_size=2).map(
            tuple
        ),
        subject_prefix=st.sampled_from(["", "[DIVERTED a@b.test] "]),
        root_batch=st.just("") | hex32,
        generation=numbers,
        to_name=st.text(max_size=20),
    )


@st.composite
def mail_lists(draw: st.DrawFn, max_size: int = 12) -> list[Mail]:
    """Mails, one or more, some side by side with the same content and some not."""
    rows = draw(st.lists(contents, min_size=1, max_size=4))
    return draw(st.lists(mails(st.sampled_from(rows)), min_size=1, max_size=max_size))


batches = st.builds(
    MailBatch,
    id=numbers,
    batch_key=hex32,
    job_id=numbers,
    company_id=numbers,
    attempt=ordinals,
    mails=mail_lists(max_size=5).map(tuple),
    job_type=st.text(max_size=50),
    batch_num=numbers,
    first_issued_at=numbers,
)

_sent = st.builds(
    MailResult,
    mail_key=hex64,
    id=numbers,
    status=st.just(MailStatus.SENT),
    message_id=st.text(printable, max_size=255),
)
_not_sent = st.builds(
    MailResult,
    mail_key=hex64,
    id=numbers,
    status=st.sampled_from([status for status in MailStatus if status is not MailStatus.SENT]),
    error_code=st.text(printable, max_size=50),
    error=lines,
    retryable=st.booleans(),
    not_before=numbers,
)
results = st.builds(
    BatchResult,
    site_uid=names,
    delivery_id=hex64,
    batch_key=hex32,
    job_id=numbers,
    batch_id=numbers,
    attempt=ordinals,
    try_=ordinals,
    final=st.booleans(),
    status=st.sampled_from(list(BatchStatus)),
    emails_sent=numbers,
    emails_failed=numbers,
    errors=st.lists(lines, max_size=3).map(tuple),
    recipients=st.lists(_sent | _not_sent, max_size=5, unique_by=lambda mail: mail.mail_key).map(
        tuple
    ),
)
