"""Company settings: one row a company; row 0 gives defaults, and enables mail without a company."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import RowMapping, insert, select, update

from sidecar.errors import ConfigError
from sidecar.store.database import Database, Transaction

PROVIDERS = ("smtp",)
FALLBACKS = ("moodle", "smtp", "hold")
COPIES = ("each", "none")


@dataclass(frozen=True, slots=True)
class Company:
    """What is set for one company, defaults of row 0 filled in.

    max_send_rate: mails a second, 0 = no limit. ``enabled`` is never inherited.
    """

    company_id: int
    provider: str = "smtp"
    enabled: bool = False
    paused: bool = False
    bulk_threshold: int = 10
    max_send_rate: int = 0
    manager_copies: str = "each"
    fallback: str = "hold"

    @property
    def claims(self) -> bool:
        """Whether mail may be claimed for this company."""
        return self.enabled and not self.paused and self.provider in PROVIDERS


class Companies:
    """A snapshot of all company settings; ``get`` answers for any company id."""

    def __init__(self, rows: Mapping[int, Company], default: Company) -> None:
        self._rows = rows
        self._default = default

    def get(self, company_id: int) -> Company:
        """The settings that hold for the company, whether it has a row or not."""
        found = self._rows.get(company_id)
        if found is not None:
            return found
        d = self._default
        return Company(
            company_id=company_id,
            provider=d.provider,
            bulk_threshold=d.bulk_threshold,
            max_send_rate=d.max_send_rate,
            manager_copies=d.manager_copies,
            fallback=d.fallback,
        )

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(sorted(self._rows.values(), key=lambda company: company.company_id))


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
    threshold, rate = row["bulk_threshold"], row["max_send_rate"]
    return Company(
        company_id=row["company_id"],
        provider=row["provider"] or default.provider,
        enabled=bool(row["enabled"]),
        paused=bool(row["paused"]),
        bulk_threshold=default.bulk_threshold if threshold is None else threshold,
        max_send_rate=default.max_send_rate if rate is None else rate,
        manager_copies=row["manager_copies"] or default.manager_copies,
        fallback=row["fallback"] or default.fallback,
    )


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
    table = database.tables.companies
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
