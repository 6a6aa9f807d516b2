"""What pages ask of the leader about addresses that shall get no bulk mail."""

from collections.abc import Callable, Mapping

from sidecar.bounces import blames_address
from sidecar.errors import AddressError, SidecarError
from sidecar.moodle.addresses import to_ascii
from sidecar.store import suppressions
from sidecar.store.database import Database
from sidecar.store.jobs import JobRow, refused_addresses

Params = Mapping[str, object]
Answer = dict[str, object]

MANY = 10_000
"""Addresses of one request."""


def address_actions(
    database: Database, token: str, find_job: Callable[[Params], JobRow]
) -> dict[str, Callable[[Params], Answer]]:
    """The actions by name. find_job: the job that a request names; raises NotFoundError."""

    def suppress(params: Params) -> Answer:
        """Send these addresses no more bulk mail; what is no address is named and left out."""
        emails, company = params.get("emails"), params.get("company")
        reason, scope = params.get("reason", "manual"), params.get("scope", suppressions.ALL)
        if not isinstance(emails, list) or len(emails) > MANY or not isinstance(company, int):
            raise SidecarError(f"suppress: say a company and at most {MANY} emails")
        if reason not in suppressions.REASONS or scope not in suppressions.SCOPES:
            raise SidecarError("suppress: no such reason or scope")
        good: list[str] = []
        bad: list[str] = []
        for email in emails:
            try:
                good.append(to_ascii(str(email)))
            except AddressError:
                bad.append(str(email))
        with database.write(token) as tx:
            added = sum(
                suppressions.add(
                    tx,
                    database,
                    address,
                    company_id=company,
                    scope=str(scope),
                    reason=str(reason),
                )
                for address in dict.fromkeys(good)
            )
        return {"suppressed": added, "refused": bad}

    def unsuppress(params: Params) -> Answer:
        """Let addresses have mail again."""
        ids = params.get("ids")
        if not isinstance(ids, list) or not all(isinstance(each, int) for each in ids):
            raise SidecarError("unsuppress: ids are missing")
        with database.write(token) as tx:
            return {"removed": suppressions.remove_ids(tx, database, ids)}

    def suppress_failed(params: Params) -> Answer:
        """Send no more mail to those addresses of a job that were refused for good."""
        job = find_job(params)
        with database.write(token) as tx:
            blamed = {
                email: code
                for email, code in refused_addresses(tx.conn, database, job.id)
                if blames_address(code)
            }
            added = sum(
                suppressions.add(
                    tx,
                    database,
                    email,
                    company_id=job.company_id,
                    scope=suppressions.ALL,
                    reason="complaint" if code == "complaint" else "bounce",
                    job_id=job.id,
                )
                for email, code in blamed.items()
            )
        return {"addresses": len(blamed), "suppressed": added}

    return {"suppress": suppress, "unsuppress": unsuppress, "suppress_failed": suppress_failed}
