"""What pages ask of the leader about addresses that shall get no bulk mail."""

from collections.abc import Callable, Mapping

from sidecar.bounces import blames_address
from sidecar.store import suppressions
from sidecar.store.database import Database
from sidecar.store.jobs import JobRow, refused_addresses

Params = Mapping[str, object]
Answer = dict[str, object]


def address_actions(
    database: Database, token: str, find_job: Callable[[Params], JobRow]
) -> dict[str, Callable[[Params], Answer]]:
    """The actions by name. find_job: the job that a request names; raises NotFoundError."""

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

    return {"suppress_failed": suppress_failed}
