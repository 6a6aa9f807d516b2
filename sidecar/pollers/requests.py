"""What pages and commands ask of the leader: each action by name, with its answer.

The command line runs the same actions itself when no leader is alive.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from sidecar import jobs
from sidecar.errors import SidecarError
from sidecar.lifecycle import Recipient
from sidecar.moodle.encryption import Vault
from sidecar.pollers.address_requests import address_actions
from sidecar.pollers.base import Poller
from sidecar.pollers.campaign_requests import campaign_actions
from sidecar.recall import Recall
from sidecar.store import asks, companies, pauses, requests
from sidecar.store.companies import Companies, Company
from sidecar.store.database import Database, Transaction
from sidecar.store.jobs import JobRow, job_of_recipient, unfinished_jobs
from sidecar.store.site import update_state

log = logging.getLogger(__name__)

Params = Mapping[str, object]
Answer = dict[str, object]

TestMail = Callable[[Transaction, Company, int], int]
"""Captures a test mail of a company to a user; returns its job's id."""


class Actions:
    """Everything that changes something on behalf of an admin; needs the lease's token."""

    def __init__(
        self,
        database: Database,
        token: str,
        sources: Mapping[str, Poller],
        recall: Recall,
        read_companies: Callable[[], Companies],
        batch_size: int,
        vault: Vault,
        capture_test_mail: TestMail,
    ) -> None:
        self._database = database
        self._token = token
        self._sources = sources
        self._recall = recall
        self._read_companies = read_companies
        self._batch_size = batch_size
        self._capture_test_mail = capture_test_mail
        self._by_name: dict[str, Callable[[Params], Answer]] = {
            "cancel": self._cancel,
            "release": self._release,
            "resolve": self._resolve,
            "retry": self._retry,
            "resend": self._resend,
            "test_mail": self._test_mail,
            "company_set": self._company_set,
            "backlog_take": self._backlog_take,
            "drain": self._drain,
            "pause": self._pause,
            "resume": self._resume,
            **address_actions(database, token, self._job),
            **campaign_actions(database, token, vault, self._cancel),
        }

    def perform(self, action: str, params: Params) -> Answer:
        """Do it; raises SidecarError with the reason when it cannot be done."""
        do = self._by_name.get(action)
        if do is None:
            raise SidecarError(f"unknown request: {action}")
        return do(params)

    def _cancel(self, params: Params) -> Answer:
        job_id = _number(params, "job")
        recalled = self._recall.job(job_id)
        with self._database.write(self._token) as tx:
            number = jobs.cancel(
                tx, self._database, job_id, "cancelled by the admin", recalled.mails
            )
        return {"cancelled": number, "left": recalled.left, "why": recalled.why}

    def _release(self, params: Params) -> Answer:
        return self._release_job(_number(params, "job"))

    def _release_job(self, job_id: int) -> Answer:
        with self._database.read() as conn:  # before anything is taken back from a provider
            jobs.releasing_source(conn, self._database, job_id, self._sources)
        recalled = self._recall.job(job_id)
        with self._database.write(self._token) as tx:
            returned = jobs.release(tx, self._database, job_id, self._sources, recalled.mails)
        return {"returned": returned.mails, "held": returned.held, "why": recalled.why}

    def _resolve(self, params: Params) -> Answer:
        sent = params.get("as") == "sent"
        with self._database.write(self._token) as tx:
            number = jobs.resolve_unknown(tx, self._database, _number(params, "job"), sent)
        return {"resolved": number}

    def _retry(self, params: Params) -> Answer:
        states = {Recipient.FAILED}
        if params.get("permanent"):
            states.add(Recipient.PERMANENTLY_FAILED)
        return self._repeat(_number(params, "job"), states)

    def _resend(self, params: Params) -> Answer:
        """One mail that failed, whether for good or not, once more."""
        recipient_id = _number(params, "recipient")
        with self._database.read() as conn:
            job_id = job_of_recipient(conn, self._database, recipient_id)
        if job_id is None:
            raise SidecarError(f"there is no recipient {recipient_id}")
        states = {Recipient.FAILED, Recipient.PERMANENTLY_FAILED}
        return self._repeat(job_id, states, recipient_id)

    def _repeat(
        self, job_id: int, states: Collection[Recipient], only: int | None = None
    ) -> Answer:
        companies = self._read_companies()
        with self._database.write(self._token) as tx:
            job = jobs.require(tx.conn, self._database, job_id)
            provider = companies.get(job.company_id).provider
            child, mails = jobs.retry(
                tx, self._database, job_id, states, provider, self._batch_size, only
            )
        return {"job": child, "mails": mails}

    def _test_mail(self, params: Params) -> Answer:
        company = self._read_companies().get(_number(params, "company"))
        with self._database.write(self._token) as tx:
            return {"job": self._capture_test_mail(tx, company, _number(params, "user"))}

    def _job(self, params: Params) -> JobRow:
        with self._database.read() as conn:
            return jobs.require(conn, self._database, _number(params, "job"))

    def _company_set(self, params: Params) -> Answer:
        values = params.get("values")
        if not isinstance(values, dict):
            raise SidecarError("company_set: values are missing")
        company_id = _number(params, "company")
        new_key = params.get("callback_key")
        with self._database.write(self._token) as tx:
            companies.set_company(tx, self._database, company_id, values)
            if isinstance(new_key, list) and len(new_key) == 2:
                key, secret = map(str, new_key)
                companies.replace_callback_key(tx, self._database, company_id, key, secret)
        return {"company": company_id}

    def _backlog_take(self, params: Params) -> Answer:
        company_id = _number(params, "company")
        with self._database.read() as conn:
            newest = {name: poller.newest(conn) for name, poller in self._sources.items()}
        with self._database.write(self._token) as tx:
            changes = {f"backlog:{name}:{company_id}": up_to for name, up_to in newest.items()}
            update_state(tx, self._database, changes)
        return {"company": company_id, **newest}

    def _pause(self, params: Params) -> Answer:
        """Hold, then take back what providers have and have not sent."""
        job_ids = self._hold(params, True)
        taken = left = 0
        why = ""
        for job_id in job_ids:
            recalled = self._recall.job(job_id, to_send_later=True)
            if recalled.mails:
                with self._database.write(self._token) as tx:
                    asks.keep_recalled(tx, self._database, recalled.mails)
            taken += len(recalled.mails)
            left += recalled.left
            why = recalled.why or why
        with self._database.read() as conn:
            held = pauses.count_held(conn, self._database, job_ids)
        return {"held": held, "taken_back": taken, "left": left, "why": why}

    def _resume(self, params: Params) -> Answer:
        job_ids = self._hold(params, False)
        with self._database.read() as conn:
            return {"resumed": pauses.count_held(conn, self._database, job_ids)}

    def _hold(self, params: Params, on: bool) -> list[int]:
        """Pause or resume a job, a company or everything; the jobs that it concerns."""
        kind, database = params.get("what"), self._database
        with database.write(self._token) as tx:
            if kind == "job":
                job_id = _number(params, "id")
                jobs.require(tx.conn, database, job_id)
                pauses.pause_job(tx, database, job_id, on)
                return [job_id]
            if kind == "company":
                company_id = _number(params, "id")
                companies.set_company(tx, database, company_id, {"paused": int(on)})
                return unfinished_jobs(tx.conn, database, company_id)
            if kind == "all":
                update_state(tx, database, {pauses.EVERYTHING: True if on else None})
                return unfinished_jobs(tx.conn, database)
        raise SidecarError("pause: say a job, a company or all")

    def _drain(self, _params: Params) -> Answer:
        with self._database.write(self._token) as tx:
            update_state(tx, self._database, {"draining": tx.now})
        returned = 0
        with self._database.read() as conn:
            job_ids = unfinished_jobs(conn, self._database, roots_only=True)
        for job_id in job_ids:
            number = self._release_job(job_id)["returned"]
            returned += number if isinstance(number, int) else 0
        return {"returned": returned}


URGENT = frozenset({"pause", "resume"})
"""Requests that must not wait even for the end of a claim."""

QUESTIONS = frozenset({"observe", "test_connection"})
"""Requests that change nothing and may take their time: answered in a thread of their own."""

ASIDE = URGENT | QUESTIONS
"""What a cycle leaves to others."""


class Performer(Protocol):
    """Does what is asked; raises SidecarError with the reason when it cannot be done."""

    def perform(self, action: str, params: Params) -> Answer: ...


def answer_requests(
    database: Database,
    token: str,
    actions: Performer,
    *,
    only: Collection[str] | None = None,
    leave: Collection[str] = (),
) -> int:
    """Do what was asked since the last time; returns how many requests were answered.

    only, leave: actions; two callers at the same time must not take the same ones.
    """
    asked = [
        request
        for request in requests.new_requests(database)
        if (only is None or request.action in only) and request.action not in leave
    ]
    for request in asked:
        try:
            result, ok = actions.perform(request.action, request.params), True
        except SidecarError as error:
            result, ok = {"error": str(error)}, False
        except Exception as defect:
            log.exception("request %d cannot be answered", request.id)
            result, ok = {"error": f"it cannot be done: {type(defect).__name__}"}, False
        log.info("request %d: %s %s", request.id, request.action, "done" if ok else "failed")
        requests.answer(database, token, request.id, result, ok)
    return len(asked)


def _number(params: Params, key: str) -> int:
    value = params.get(key)
    if not isinstance(value, int):
        raise SidecarError(f"{key} is missing")
    return value
