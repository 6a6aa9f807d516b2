"""Taking mails back from a provider that has not sent them yet."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.connectors.base import Revocation
from sidecar.errors import ConnectorError
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.routes import Routes
from sidecar.store import asks
from sidecar.store.companies import Companies
from sidecar.store.database import Database
from sidecar.store.jobs import read_job


@dataclass(frozen=True, slots=True)
class Recalled:
    """Mails, by id, that a provider surely never sends; left: how many it may still send, and why
    they could not be taken back."""

    mails: frozenset[int] = frozenset()
    left: int = 0
    why: str = ""


class Recall:
    """Asks providers to give mails of a job up. companies: reads the settings as they are."""

    def __init__(
        self, database: Database, routes: Routes, companies: Callable[[], Companies]
    ) -> None:
        self._database = database
        self._routes = routes
        self._companies = companies

    def job(self, job_id: int, *, to_send_later: bool = False) -> Recalled:
        """Take back what providers have of a job; may be repeated. Raises DatabaseError.

        to_send_later: only what can be sent under a new name. A mail that an admin had repeated
        keeps the name under which it first left, and the ledger never sends what it took back.
        """
        with self._database.read() as conn:
            job = read_job(conn, self._database, job_id)
            there = asks.at_provider(conn, self._database, job_id)
        if job is None or not there:
            return Recalled()
        company = self._companies().get(job.company_id)
        taken: set[int] = set()
        why = "sent already, or being sent"
        for provider in {mail.provider for mail in there}:
            mails = [mail for mail in there if mail.provider == provider]
            if to_send_later and any(mail.generation for mail in mails):
                why = "repeated mails cannot be taken back and sent later"
                mails = [mail for mail in mails if not mail.generation]
            if not company.ledger(provider):
                kind = "URL of the Worker" if provider == "cloudflare" else "ledger table"
                why = f"no {kind} is set, through which they could be taken back"
                continue
            try:
                connector = self._routes.connector(self._routes.cloud(company, provider))
                keys = connector.revoke(
                    [Revocation(m.root_batch, m.mail_key, m.generation) for m in mails]
                )
            except (ConnectorError, MailSettingsError) as error:
                why = str(error)
                continue
            taken |= {mail.id for mail in mails if mail.mail_key in keys}
        left = len(there) - len(taken)
        return Recalled(frozenset(taken), left, why if left else "")
