"""Company settings: one row a company; row 0 gives defaults, and enables mail without a company."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from sidecar.errors import ConfigError
from sidecar.send_window import parse
from sidecar.store.database import Database, Transaction

PROVIDERS = ("smtp", "aws", "cloudflare")
FALLBACKS = ("moodle", "smtp", "hold")
DEFAULT_FALLBACKS: Mapping[str, str] = {"new_users": "smtp"}
"""Of a source, where nothing is set; else hold. A new user's password is stored already: the mail
must go, or nobody can log in."""

COPIES = ("each", "none")
SECRETS = (
    *("aws_access_key", "aws_secret_key", "cloudflare_api_token"),
    *("callback_secret", "callback_secret_old"),
)
"""Columns that hold values as Moodle's ``\\core\\encryption`` writes them."""

SETTABLE = frozenset(
    {
        "provider",
        "enabled",
        "paused",
        "bulk_threshold",
        "max_send_rate",
        "daily_quota",
        "manager_copies",
        "fallback",
        "aws_access_key",
        "aws_secret_key",
        "aws_region",
        "sqs_queue_url",
        "results_queue_url",
        "ledger_table",
        "feedback_queue_url",
        "ses_configuration_set",
        "aws_role_arn",
        "aws_external_id",
        "cloudflare_account_id",
        "cloudflare_api_token",
        "cloudflare_queue_id",
        "cloudflare_results_queue_id",
        "cloudflare_worker_url",
        "ses_sender_email",
        "sender_name",
        "send_window",
    }
)
"""What an admin may set; SECRETS among them come encrypted."""

_OF_THE_KEY = frozenset({"aws_secret_key", "aws_role_arn", "aws_external_id"})

ALWAYS = "always"

OLD_KEY_SECONDS = 86_400
"""How long a replaced callback key stays valid: the worker learns the new one meanwhile."""


@dataclass(frozen=True, slots=True)
class CallbackKey:
    """A key that a company's worker signs with; ``secret`` is still encrypted."""

    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Company:
    """What is set for one company, defaults of row 0 filled in.

    max_send_rate: mails a second, 0 = no limit. daily_quota: mails within 24 hours, 0 = no limit.
    ``enabled`` is never inherited. fallback: '' where
    nobody set one, see ``fallback_for``. The columns named in SECRETS are still encrypted.
    results_queue_url: of Cloudflare the results queue's id; ledger_table: of Cloudflare the URL of
    the Worker, which keeps the ledger. ``results_queue`` and ``ledger`` tell them apart.
    """

    company_id: int
    provider: str = "smtp"
    enabled: bool = False
    paused: bool = False
    bulk_threshold: int = 10
    max_send_rate: int = 0
    daily_quota: int = 0
    manager_copies: str = "each"
    fallback: str = ""
    aws_access_key: str = field(default="", repr=False)
    aws_secret_key: str = field(default="", repr=False)
    aws_region: str = ""
    sqs_queue_url: str = ""
    results_queue_url: str = ""
    ledger_table: str = ""
    feedback_queue_url: str = ""
    ses_configuration_set: str = ""
    aws_role_arn: str = ""
    aws_external_id: str = ""
    cloudflare_account_id: str = ""
    cloudflare_api_token: str = field(default="", repr=False)
    cloudflare_queue_id: str = ""
    cloudflare_results_queue_id: str = ""
    cloudflare_worker_url: str = ""
    ses_sender_email: str = ""
    sender_name: str = ""
    send_window: str = ""
    callback_key: str = ""
    callback_secret: str = field(default="", repr=False)
    callback_key_old: str = ""
    callback_secret_old: str = field(default="", repr=False)
    callback_old_until: int = 0

    def fallback_for(self, source: str) -> str:
        """What becomes of a source's mail whose provider is down for too long (DESIGN §7)."""
        return self.fallback or DEFAULT_FALLBACKS.get(source, "hold")

    def results_queue(self, provider: str) -> str:
        """This provider's queue of results, '' if there is none."""
        if provider == "cloudflare":
            return self.cloudflare_results_queue_id
        return self.results_queue_url

    def ledger(self, provider: str) -> str:
        """Through what mails are taken back: AWS's table, the URL of Cloudflare's Worker, or ''."""
        return self.cloudflare_worker_url if provider == "cloudflare" else self.ledger_table

    @property
    def claims(self) -> bool:
        """Whether mail may be claimed for this company; while it is paused it is held."""
        return self.enabled and self.provider in PROVIDERS

    @property
    def has_hours(self) -> bool:
        """Whether its mail may leave only in some hours; ``always`` lifts those of row 0."""
        return self.send_window not in ("", ALWAYS)

    def callback_keys(self, now: int) -> list[CallbackKey]:
        """The keys that are valid at ``now`` (Unix seconds), the newest first."""
        keys = [CallbackKey(self.callback_key, self.callback_secret)]
        if self.callback_old_until > now:
            keys.append(CallbackKey(self.callback_key_old, self.callback_secret_old))
        return [key for key in keys if key.key and key.secret]


class Companies:
    """A snapshot of all company settings; ``get`` answers for any company id."""

    def __init__(self, rows: Mapping[int, Company], default: Company) -> None:
        self._rows = rows
        self._default = default

    def get(self, company_id: int) -> Company:
        """The settings that hold for the company, whether it has a row or not."""
        found = self._rows.get(company_id)
        return found or replace(self._default, company_id=company_id, enabled=False, paused=False)

    def __iter__(self) -> Iterator[Company]:
        return iter(sorted(self._rows.values(), key=lambda company: company.company_id))

    def find_key(self, name: str, now: int) -> CallbackKey | None:
        """The valid key of that name, whoever it belongs to."""
        keys = (key for company in self for key in company.callback_keys(now))
        return next((key for key in keys if key.key == name), None)


def read_companies(database: Database, bulk_threshold: int) -> Companies:
    """All company settings; ``bulk_threshold`` is the default where no row sets one."""
    with database.read() as conn:
        rows = conn.execute(select(database.tables.companies)).mappings().all()
    built_in = Company(company_id=0, bulk_threshold=bulk_threshold)
    zero = next((row for row in rows if row["company_id"] == 0), None)
    default = _merge(zero, built_in) if zero else built_in
    merged = {row["company_id"]: _merge(row, default) for row in rows}
    return Companies(merged, default)


def _merge(row: RowMapping, default: Company) -> Company:
    own: dict[str, Any] = {"enabled": bool(row["enabled"]), "paused": bool(row["paused"])}
    for each in fields(Company):
        if each.name in own:
            continue
        value = row[each.name]
        # A key of its own has a past of its own: none of another company's keys is valid beside it.
        keeps = row["callback_key"] and each.name.startswith("callback_")
        # Keys go together: a role is nothing that another key may take on.
        keeps = keeps or (row["aws_access_key"] and each.name in _OF_THE_KEY)
        # Zero is a choice, an empty text is none.
        unset = each.default if keeps else getattr(default, each.name)
        own[each.name] = unset if value in (None, "") else value
    return Company(**own)


def set_company(
    tx: Transaction, database: Database, company_id: int, values: dict[str, object]
) -> None:
    """Insert or update the row of a company; raises ConfigError for a value that is not allowed."""
    allowed = {"provider": PROVIDERS, "fallback": FALLBACKS, "manager_copies": COPIES}
    for key, choices in allowed.items():
        if key in values and values[key] not in choices:
            raise ConfigError(
                f"company {company_id}: {key} must be one of {', '.join(choices)},"
                f" not {values[key]!r}"
            )
    if values.get("send_window") not in (None, "", ALWAYS):
        parse(str(values["send_window"]))
    table = database.tables.companies
    unknown = sorted(set(values) - SETTABLE)
    if unknown:
        raise ConfigError(f"company {company_id}: {unknown[0]} cannot be set")
    changed = tx.conn.execute(
        update(table)
        .where(table.c.company_id == company_id)
        .values(values or {"paused": table.c.paused})
    )
    exists = (
        changed.rowcount
        or tx.conn.execute(select(table.c.id).where(table.c.company_id == company_id)).first()
    )
    if not exists:
        tx.conn.execute(insert(table).values(company_id=company_id, **values))


def has_own_key(database: Database, company_id: int) -> bool:
    """Whether a company's worker has a key of its own, none of row 0."""
    table = database.tables.companies
    query = select(table.c.callback_key).where(table.c.company_id == company_id)
    with database.read() as conn:
        return bool(conn.execute(query).scalar())


def replace_callback_key(
    tx: Transaction, database: Database, company_id: int, key: str, secret: str
) -> None:
    """Give a company a new key for its worker; the one before stays valid for a day.

    secret: encrypted.
    """
    table = database.tables.companies
    mine = table.c.company_id == company_id
    before = tx.conn.execute(
        select(table.c.callback_key, table.c.callback_secret).where(mine)
    ).one()
    if before.callback_key:
        old = {
            "callback_key_old": before.callback_key,
            "callback_secret_old": before.callback_secret,
            "callback_old_until": tx.now + OLD_KEY_SECONDS,
        }
        tx.conn.execute(update(table).where(mine).values(old))
    tx.conn.execute(update(table).where(mine).values(callback_key=key, callback_secret=secret))


def disable_all(tx: Transaction, database: Database) -> None:
    """Disable every company and remove its keys (``adopt --copy``)."""
    tx.conn.execute(
        update(database.tables.companies).values(
            enabled=0,
            aws_access_key=None,
            aws_secret_key=None,
            cloudflare_api_token=None,
            callback_key=None,
            callback_secret=None,
            callback_key_old=None,
            callback_secret_old=None,
        )
    )
