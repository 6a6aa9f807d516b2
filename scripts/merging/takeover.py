"""What becomes of the earlier plugin's own cloud mail: senders go, views read our tables."""

from __future__ import annotations

import re

from . import generated, php
from .errors import MergeError
from .tree import Plugin, Result

REPLACED = {
    "ajax_job_details.php": "shows the recipients of our jobs, to those who may see them",
    "classes/api/CloudJobManager.php": "reads our tables; queues nothing: callers send by Moodle",
    "classes/output/cloud_offload_data_loader.php": "reads our tables, for those who may see them",
    "cloud_callback.php": "answers 410: workers report to ui/ajax/cloud_callback.php",
}
DROPPED = {
    "classes/api/EmailOffloadHandler.php": "sent mail inside the request and deleted Moodle's own",
    "classes/api/connectors/AwsConnector.php": "the sidecar speaks to the cloud",
}
DROPPED_FOLDERS = {"cloud_workers/": "workers of the earlier contract; the sidecar brings its own"}

STRINGS = {
    "cloudearlierdisabled": "Mail of this company is sent by Moodle's own cron.",
    "cloudearlierenabled": "The sidecar takes over bulk mail of this company and sends it by {$a}.",
    "cloudearliermore": "and {$a} more, on the page of cloud jobs",
    "cloudearlierqueue": "Only the sidecar opens jobs. Send by Moodle: it claims bulk mail itself.",
    "cloudearliersettings": "Change how it is sent",
}
"""English strings of the files that replace theirs."""

TRACES = {
    r"\bmanireports_cloud_recip\b": "the table manireports_cloud_recip",
    r"\bmanireports_cloud_conf\b": "the table manireports_cloud_conf",
    r"\bEmailOffloadHandler\b": "the class EmailOffloadHandler",
    r"\bAwsConnector\b": "the class AwsConnector",
    r"(?:insert_records?|insert_record_raw|update_record|set_field|set_field_select|delete_records(?:_select)?)"
    r"\(\s*['\"]manireports_cloud_": "a cloud table, writing",
}
"""What no file may still use, and how it is told."""

SAVING = re.compile(r"if\s*(\()\s*optional_param\(\s*'action'[^;{]*?'savesettings'")
FORM = re.compile(r"<form\b(?:(?!</form>).)*?value=\"savesettings\".*?</form>", re.DOTALL)


def take_over(earlier: Plugin, result: Result) -> dict[str, bytes]:
    """Their files without what the sidecar does now, and with the views that read our tables."""
    kept = {}
    for path, data in earlier.files.items():
        folder = next((why for name, why in DROPPED_FOLDERS.items() if path.startswith(name)), "")
        if why := DROPPED.get(path, folder):
            result.dropped[path] = why
        elif path in REPLACED:
            kept[path] = generated.template(path.rsplit("/", 1)[-1]).encode()
            result.change(path, REPLACED[path])
        elif path.endswith(".php") and b"savesettings" in data:
            kept[path] = _without_saving(path, earlier.text(path), result).encode()
        else:
            kept[path] = data
    return kept


def _without_saving(path: str, text: str, result: Result) -> str:
    """A page that stored keys in clear: its form gives way to a link to ours."""
    before = text
    masked = php.code(text, strings=True)
    if found := SAVING.search(masked):
        blanked = php.code(text)
        opening = blanked.find("{", php.block_end(blanked, found.start(1)))
        end = php.block_end(blanked, opening)
        if end < 0:
            raise MergeError(f"{path}: the end of its savesettings cannot be found")
        call = r"\local_manireports\output\cloud_offload_data_loader::settings_url"
        text = (
            text[: found.start()]
            + "if (optional_param('action', '', PARAM_ALPHA) === 'savesettings') {\n"
            + f"    redirect({call}(optional_param('company_id', 0, PARAM_INT)));\n}}"
            + text[end:]
        )
    call = r"\local_manireports\output\cloud_offload_data_loader::settings_summary"
    text = FORM.sub(lambda _: f"<?php echo {call}((int)($selected_company_id ?? 0)); ?>", text)
    if text != before:
        result.change(path, "settings of a company are changed on the sidecar's page, not here")
    return text


def refuse_traces(files: dict[str, bytes]) -> None:
    """MergeError if a file of theirs still uses what is gone."""
    for path, data in files.items():
        if path.startswith("db/") or not path.endswith((".php", ".mustache")):
            continue
        text = data.decode("utf-8", "replace")
        masked = php.code(text, strings=True) if path.endswith(".php") else text
        for pattern, what in TRACES.items():
            if found := re.search(pattern, masked):
                line = text.count("\n", 0, found.start()) + 1
                raise MergeError(
                    f"{path}, line {line}: uses {what}, which the merged plugin does not have;"
                    " change that file to read the tables of the sidecar, then merge again"
                )
