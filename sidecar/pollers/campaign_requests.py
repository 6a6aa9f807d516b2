"""What pages and commands ask of the leader about campaigns and suppressions."""

from collections.abc import Callable, Mapping

from sidecar.errors import AddressError, SidecarError
from sidecar.moodle.addresses import to_ascii
from sidecar.moodle.encryption import Vault
from sidecar.store import campaigns, suppressions
from sidecar.store.campaigns import Status
from sidecar.store.database import Database
from sidecar.unsubscribe import PURPOSE, Links

Params = Mapping[str, object]
Answer = dict[str, object]
Action = Callable[[Params], Answer]


def campaign_actions(
    database: Database, token: str, vault: Vault, cancel_job: Action
) -> dict[str, Action]:
    """The actions by name. cancel_job: the action that cancels a job."""
    actions = _CampaignActions(database, token, vault, cancel_job)
    return {
        "campaign_queue": actions.queue,
        "campaign_cancel": actions.cancel,
        "suppress_add": actions.suppress,
        "suppress_remove": actions.unsuppress,
        "unsubscribe": actions.unsubscribe,
    }


class _CampaignActions:
    def __init__(self, database: Database, token: str, vault: Vault, cancel_job: Action) -> None:
        self._database = database
        self._token = token
        self._vault = vault
        self._cancel_job = cancel_job

    def queue(self, params: Params) -> Answer:
        """Send what of a campaign waits, from now or its later send_at on."""
        campaign_id = _number(params, "campaign")
        with self._database.write(self._token) as tx:
            campaign = campaigns.lock(tx, self._database, campaign_id)
            if campaign.status in (*campaigns.ACTIVE, Status.CANCELLED):
                raise SidecarError(f"campaign {campaign_id} is {campaign.status} already")
            waiting = campaigns.waiting_numbers(tx.conn, self._database, [campaign_id])
            if not waiting:
                raise SidecarError(f"campaign {campaign_id}: no row of its outbox waits")
            send_at = max(tx.now, campaign.send_at or 0)
            campaigns.set_status(tx, self._database, [campaign_id], Status.QUEUED, send_at=send_at)
        return {"waiting": waiting[campaign_id]}

    def cancel(self, params: Params) -> Answer:
        """Never send what of a campaign has not left."""
        campaign_id = _number(params, "campaign")
        with self._database.write(self._token) as tx:
            campaign = campaigns.lock(tx, self._database, campaign_id)
            if campaign.status in (Status.DONE, Status.CANCELLED):
                raise SidecarError(f"campaign {campaign_id} is {campaign.status} already")
            waiting = campaigns.cancel_waiting(tx, self._database, campaign_id)
            campaigns.set_status(tx, self._database, [campaign_id], Status.CANCELLED)
        answer: Answer = {"cancelled": 0, "left": 0, "why": ""}
        if campaign.job_id:
            answer |= self._cancel_job({"job": campaign.job_id})
        return {**answer, "waiting": waiting}

    def suppress(self, params: Params) -> Answer:
        """Send an address no more bulk mail of a company."""
        address, scope = _address(params), params.get("scope", suppressions.ALL)
        reason = params.get("reason", "manual")
        if scope not in suppressions.SCOPES:
            raise SidecarError(f"scope must be one of {', '.join(suppressions.SCOPES)}")
        if reason not in suppressions.REASONS:
            raise SidecarError(f"reason must be one of {', '.join(suppressions.REASONS)}")
        with self._database.write(self._token) as tx:
            new = suppressions.add(
                tx,
                self._database,
                address,
                company_id=_number(params, "company"),
                scope=str(scope),
                reason=str(reason),
            )
        return {"address": address, "new": new}

    def unsuppress(self, params: Params) -> Answer:
        """Take it back."""
        address, scope = _address(params), params.get("scope")
        with self._database.write(self._token) as tx:
            number = suppressions.remove(
                tx,
                self._database,
                address,
                _number(params, "company"),
                scope if isinstance(scope, str) else None,
            )
        return {"address": address, "removed": number}

    def unsubscribe(self, params: Params) -> Answer:
        """The link in a campaign's mail was used; only a link that this site made counts."""
        token = params.get("token")
        if not isinstance(token, str):
            raise SidecarError("token is missing")
        leaving = Links("", self._vault.derive(PURPOSE)).open(token)
        with self._database.write(self._token) as tx:
            campaign = campaigns.read(tx.conn, self._database, [leaving.campaign_id])
            found = campaign.get(leaving.campaign_id)
            new = suppressions.add(
                tx,
                self._database,
                leaving.address,
                company_id=leaving.company_id,
                scope=suppressions.CAMPAIGNS,
                reason="unsubscribe",
                job_id=found.job_id if found else None,
            )
        return {"company": leaving.company_id, "new": new}


def _address(params: Params) -> str:
    try:
        return to_ascii(str(params.get("address", "")))
    except AddressError as error:
        raise SidecarError(f"address: {error}") from None


def _number(params: Params, key: str) -> int:
    value = params.get(key)
    if not isinstance(value, int):
        raise SidecarError(f"{key} is missing")
    return value
