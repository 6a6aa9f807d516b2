"""Our tables (DESIGN §4), as SQLAlchemy Core; the plugin's install.xml makes the same ones.

Types are those that Moodle's XMLDB makes: BIGINT for every integer (Unix seconds, row ids,
counts), VARCHAR for short text, LONGTEXT for the rest.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.types import TypeEngine

_ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
_LONG: TypeEngine[str] = Text().with_variant(LONGTEXT(), "mysql", "mariadb")

SCHEMA_VERSION = 2
"""Raised with every change of the tables; daemon and tables must agree."""


def _int(name: str, default: int | None = 0) -> Column[int]:
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=str(default))


def _opt(name: str) -> Column[int]:
    return _int(name, None)


def _str(name: str, length: int, default: str | None = "") -> Column[str]:
    if default is None:
        return Column(name, String(length), nullable=True)
    return Column(name, String(length), nullable=False, server_default=default)


def _text(name: str) -> Column[str]:
    return Column(name, _LONG, nullable=True)


@dataclass(frozen=True, slots=True)
class Tables:
    """Every manireports_cloud_* table, with the site's prefix."""

    metadata: MetaData
    jobs: Table
    recipients: Table
    batches: Table
    companies: Table
    callbacks: Table
    campaigns: Table
    outbox: Table
    suppressions: Table
    templates: Table
    operations: Table
    requests: Table
    sidecar: Table


def our_tables(prefix: str) -> Tables:
    """The tables of a site whose ``$CFG->prefix`` is ``prefix``."""
    meta = MetaData()

    def table(
        name: str,
        *columns: Column[int] | Column[str],
        unique: tuple[str, ...] = (),
        indexes: tuple[tuple[str, ...], ...] = (),
    ) -> Table:
        full = f"{prefix}manireports_cloud_{name}"
        key = Column("id", _ID, primary_key=True, autoincrement=True)
        made = Table(full, meta, key, *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4")
        for names, is_unique in [*(((u,), True) for u in unique), *((i, False) for i in indexes)]:
            short = "".join(part[:3] for name in names for part in name.split("_"))
            suffix = "uix" if is_unique else "ix"
            Index(
                f"{prefix}manicl{name[:4]}_{short}_{suffix}",
                *(made.c[column] for column in names),
                unique=is_unique,
            )
        return made

    return Tables(
        metadata=meta,
        jobs=table(
            "jobs",
            _str("type", 50),
            _str("status", 20, "pending"),
            _int("email_count"),
            _int("emails_sent"),
            _int("emails_failed"),
            _int("company_id"),
            _int("created_at"),
            _opt("started_at"),
            _opt("completed_at"),
            _text("error_log"),
            _str("source", 30),
            _str("provider", 20),
            _str("label", 255),
            _int("copy_count"),
            _opt("parent_job_id"),
            _int("created_by"),
            _opt("closed_at"),
            _int("paused"),
            _opt("notified_at"),
            _int("timemodified"),
            indexes=(("status",), ("company_id", "created_at"), ("parent_job_id",), ("closed_at",)),
        ),
        recipients=table(
            "recipients",
            _int("job_id"),
            _str("email", 255),
            _text("recipient_data"),
            _text("secret"),
            _str("status", 20, "pending"),
            _opt("sent_at"),
            _text("error_message"),
            _int("batch_id"),
            _str("source", 30),
            _int("source_id"),
            _str("role", 20),
            _int("userid"),
            _str("email_hash", 64),
            _str("mail_key", 64),
            _int("source_stamp"),
            _int("tries"),
            _str("error_code", 50),
            _str("message_id", 255),
            _opt("retry_of"),
            _int("timemodified"),
            unique=("email_hash",),
            indexes=(
                ("job_id", "status"),
                ("batch_id", "status"),
                ("source", "source_id", "source_stamp"),
                ("mail_key",),
                ("retry_of",),
                ("email",),
                ("userid",),
            ),
        ),
        batches=table(
            "import_batches",
            _int("job_id"),
            _int("batch_num"),
            _str("status", 20, "pending"),
            _int("sent_count"),
            _int("failed_count"),
            _int("created_at"),
            _opt("completed_at"),
            _str("batch_key", 32, None),
            _str("provider", 20),
            _int("email_count"),
            _int("attempt"),
            _str("queue_message_id", 255),
            _int("silent_asks"),
            _opt("first_issued_at"),
            _opt("queued_at"),
            _int("next_attempt_at"),
            _text("error_message"),
            unique=("batch_key",),
            indexes=(("job_id",), ("status", "next_attempt_at")),
        ),
        companies=table(
            "company_settings",
            _int("company_id"),
            _str("provider", 20),
            _text("aws_access_key"),
            _text("aws_secret_key"),
            _str("aws_region", 50),
            _str("sqs_queue_url", 255),
            _str("ses_sender_email", 255),
            _text("cloudflare_api_token"),
            _str("cloudflare_account_id", 100),
            _int("enabled"),
            _str("cloudflare_queue_id", 100),
            _str("cloudflare_results_queue_id", 100),
            _str("cloudflare_worker_url", 255),
            _str("results_queue_url", 255),
            _str("ledger_table", 255),
            _str("feedback_queue_url", 255),
            _str("ses_configuration_set", 100),
            _str("aws_role_arn", 255),
            _str("aws_external_id", 255),
            _str("sender_name", 255),
            _str("callback_key", 64, None),
            _text("callback_secret"),
            _str("callback_key_old", 64, None),
            _text("callback_secret_old"),
            _opt("callback_old_until"),
            _opt("bulk_threshold"),
            _opt("max_send_rate"),
            _opt("daily_quota"),
            _str("manager_copies", 10),
            _str("fallback", 10),
            _str("send_window", 100),
            _int("paused"),
            unique=("company_id", "callback_key", "callback_key_old"),
        ),
        callbacks=table(
            "callbacks",
            _str("delivery_id", 64),
            _str("callback_key", 64),
            _int("signed_at"),
            _text("payload"),
            _str("signature", 64),
            _int("received_at"),
            _opt("processed_at"),
            _str("outcome", 50),
            unique=("delivery_id",),
            indexes=(("processed_at",),),
        ),
        campaigns=table(
            "campaigns",
            _str("type", 50),
            _int("company_id"),
            _str("subject", 255),
            _text("body"),
            _int("created_by"),
            _opt("send_at"),
            _str("status", 20, "draft"),
            _opt("job_id"),
            _text("error_message"),
            _int("created_at"),
            indexes=(("status",),),
        ),
        outbox=table(
            "outbox",
            _int("campaign_id"),
            _int("userid"),
            _opt("course_id"),
            _str("email", 255),
            _text("data"),
            _str("status", 20, "waiting"),
            _int("created_at"),
            indexes=(("campaign_id", "status"), ("status",)),
        ),
        suppressions=table(
            "suppressions",
            _str("email", 255),
            _int("company_id"),
            _str("scope", 20),
            _str("reason", 20),
            _opt("job_id"),
            _int("created_at"),
            indexes=(("email", "company_id"),),
        ),
        templates=table(
            "templates",
            _str("name", 100),
            _str("lang", 30),
            _str("subject", 255),
            _text("body"),
            indexes=(("name", "lang"),),
        ),
        operations=table(
            "operations",
            _str("type", 50),
            _int("company_id"),
            _int("userid"),
            _int("count"),
            _int("first_at"),
            _int("last_at"),
            _int("finished"),
            indexes=(("finished",),),
        ),
        requests=table(
            "requests",
            _str("action", 30),
            _text("params"),
            _str("status", 20, "new"),
            _text("answer"),
            _str("created_by", 100),
            _int("created_at"),
            _opt("answered_at"),
            indexes=(("status",),),
        ),
        sidecar=table(
            "sidecar",
            _str("site_uid", 32),
            _str("fingerprint", 64),
            _str("lease_token", 64),
            _int("lease_expires"),
            _str("instance", 255),
            _str("version", 20),
            _int("started_at"),
            _int("last_seen"),
            _text("state"),
        ),
    )
