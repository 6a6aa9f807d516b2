"""What pages ask that changes nothing: what would be claimed, whether a provider answers."""

from collections.abc import Iterator, Mapping

from sidecar.context import Context
from sidecar.errors import SidecarError
from sidecar.preview import preview
from sidecar.steps import FAIL, OK, WARN, Step

Params = Mapping[str, object]
Answer = dict[str, object]


class Questions:
    """Answers for one site; reads only."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def perform(self, action: str, params: Params) -> Answer:
        """The answer; raises SidecarError with the reason when there is none."""
        company_id = params.get("company")
        if not isinstance(company_id, int):
            raise SidecarError("company is missing")
        if action == "observe":
            return self._observe(company_id)
        if action == "test_connection":
            steps = self.connection(company_id)
            return {"ok": all(step.ok for step in steps), "steps": [s.as_dict() for s in steps]}
        raise SidecarError(f"unknown request: {action}")

    def _observe(self, company_id: int) -> Answer:
        found = preview(self._context, company_id)
        return found.as_dict()

    def connection(self, company_id: int) -> list[Step]:
        """From the settings to the provider; ends with the first step that fails."""
        return list(self._try(company_id))

    def _try(self, company_id: int) -> Iterator[Step]:
        context = self._context
        observation = context.observe()
        for reason in observation.blocked:
            yield Step(FAIL, "site", reason)
        company = context.companies().get(company_id)
        routes = context.routes(lambda: None)
        routes.site_uid = context.identify().site_uid
        try:
            route = routes.find(observation.config, company, company.provider)
        except SidecarError as error:
            yield Step(FAIL, "settings", str(error))
            return
        yield Step(OK, "settings", f"complete, mail goes by {company.provider}")
        try:
            probe = routes.connector(route).probe()
        finally:
            routes.close(1.0)
        yield Step(OK if probe.ok else FAIL, "provider", probe.detail)
        if probe.doubt:
            yield Step(WARN, "advice", probe.doubt)
