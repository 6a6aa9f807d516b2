"""Faults of earlier versions that keep their pages from opening, mended where they are found. A
file that does not have the fault stays as it is."""

from __future__ import annotations

import re

from . import php
from .tree import Result

CONFIG = re.compile(
    r"(\brequire(?:_once)?\s*\(?\s*(?:__DIR__|dirname\(__FILE__\))\s*\.\s*)(['\"])/((?:\.\./)+)config\.php\2"
)
NAMES = "u.firstnamephonetic, u.lastnamephonetic, u.middlename, u.alternatename"
SELECTED = re.compile(
    r"(\"SELECT (?:DISTINCT )?)u\.id, u\.firstname, u\.lastname,(?! u\.firstnamephonetic)([^\"]*\")"
)


BIG_CALL = re.compile(
    r"\$PAGE->requires->js_call_amd(\()\s*'(local_manireports/(?:dashboard_builder|report_builder_gui))'"
    r"\s*,\s*'(\w+)'\s*,"
)


def repair(files: dict[str, bytes], result: Result) -> dict[str, bytes]:
    """Their files, mended; every change is in the account."""
    mended = {}
    for path, before in files.items():
        data = before
        text = data.decode("utf-8", "replace") if path.endswith(".php") else ""
        if text and text.encode() == data:
            for what, change in _REPAIRS.items():
                after = change(path, text)
                if after != text:
                    result.change(path, what)
                    text = after
            data = text.encode()
        mended[path] = data
    return mended


def _config_path(path: str, text: str) -> str:
    """config.php is where Moodle has it: two folders above the plugin."""
    up = "/" + "../" * (path.count("/") + 2)
    return CONFIG.sub(lambda m: f"{m[1]}{m[2]}{up}config.php{m[2]}", text)


def _early_end(path: str, text: str) -> str:
    """A class that is closed once too often, before some of its methods."""
    if not path.startswith("classes/"):
        return text
    masked = php.code(text)
    if masked.count("}") - masked.count("{") != 1:
        return text
    found = re.search(
        r"^\}\s*\n(?=\s+(?:(?:abstract|final|public|protected|private|static)\s)+\s*function\b)",
        masked,
        re.MULTILINE,
    )
    if not found or masked.count("{", 0, found.start()) - masked.count("}", 0, found.start()) != 1:
        return text
    return text[: found.start()].rstrip() + "\n\n" + text[found.start() + 1 :].lstrip("\r\n")


def _all_names(_path: str, text: str) -> str:
    """fullname() wants every name field; a grouped query cannot simply select more."""
    if "fullname($" not in text:
        return text

    def more(found: re.Match[str]) -> str:
        if "GROUP BY" in found[2]:
            return found[0]
        return f"{found[1]}u.id, u.firstname, u.lastname, {NAMES},{found[2]}"

    return SELECTED.sub(more, text)


def _big_call(_path: str, text: str) -> str:
    """More arguments than Moodle lets a page hand to a script by js_call_amd; what that makes of
    them is written out."""
    commentless = php.code(text, strings=True)
    for found in reversed(list(BIG_CALL.finditer(commentless))):
        end = php.block_end(php.code(text), found.start(1))
        if end < 0:
            return text
        arguments = text[found.end() : end - 1].strip().rstrip(",")
        text = (
            text[: found.start()]
            + f"$PAGE->requires->js_amd_inline('require([\"{found[2]}\"], '\n"
            + f"    . 'function(amd) {{ amd.{found[3]}(' .\n"
            + f"    implode(', ', array_map('json_encode', array_values({arguments}))) . '); }});')"
            + text[end:]
        )
    return text


def _no_time(_path: str, text: str) -> str:
    """A column that the data of companies never had."""
    return text.replace("' . $company['time'] . '", "' . ($company['time'] ?? '-') . '")


AT_RISK = re.compile(r"\$analytics->detect_at_risk_learners\((\$[\w>-]+)\)")


def _at_risk(path: str, text: str) -> str:
    """The page of learners at risk, which took the engine's arrays for objects of other fields."""
    if path != "ui/at_risk.php" or "(object)($found" in text:
        return text

    def objects(found: re.Match[str]) -> str:
        more = f"['courseid' => {found[1]}, 'factors' => $found['risk_factors'],"
        last = "'last_access' => $found['metrics']['last_access'] ?? 0]"
        return (
            f"array_map(static fn(array $found): stdClass => (object)($found + {more}\n"
            f"        {last}), {found[0]})"
        )

    return AT_RISK.sub(objects, text)


def _small_faults(path: str, text: str) -> str:
    """What SMALL_FAULTS lists."""
    for before, after in SMALL_FAULTS.get(path, {}).items():
        text = text.replace(before, after)
    return text


SMALL_FAULTS = {
    "ui/at_risk.php": {
        "$DB->get_records('course', ['id' => ['>', 1]], 'fullname', 'id, fullname')": (
            "$DB->get_records_select('course', 'id > 1', null, 'fullname', 'id, fullname')"
        ),
        "get_in_or_equal(array_column($atrisklearners, 'userid'))": (
            "get_in_or_equal(array_column($atrisklearners, 'userid'), SQL_PARAMS_NAMED)"
        ),
        "get_string('atrisk:factor_' . $factor, 'local_manireports')": "s($factor)",
        "get_string('student')": "get_string('defaultcoursestudent')",
        "get_string('close')": "get_string('closebuttontitle')",
        "get_string('by') . ' ' . ": "",
    },
    "ui/audit.php": {
        "array('id' => $log->userid), 'id, firstname, lastname')": "array('id' => $log->userid))",
        "$row[] = $log->ipaddress;": "$row[] = $log->ipaddress ?? '';",
    },
}
"""Queries, strings and columns that do not exist, by page."""


_REPAIRS = {
    "looked for config.php in the wrong folder": _config_path,
    "ended its class before its last methods": _early_end,
    "asked for half of the name fields": _all_names,
    "handed its script more than Moodle allows that way": _big_call,
    "took what the engine answers for something else": _at_risk,
    "showed a column that does not exist": _no_time,
    "asked for queries, strings or columns that do not exist": _small_faults,
}

STRINGS = {
    "actionboth": "Email and certificate",
    "actioncertificate": "Certificate",
    "actionemail": "Email",
    "actiontype": "Action",
    "actiontype_help": "What happens when the schedule runs.",
    "cloudauto": "Automatic",
    "cloudpreference": "How to send",
    "cloudpreference_help": "The sidecar takes over bulk mail; all else goes by Moodle.",
    "cloudsettings": "Delivery",
    "companyidrequired": "A company has to be chosen.",
    "configurewidget": "Configure widget",
    "createdashboard": "Create dashboard",
    "custom": "Custom",
    "custominterval": "Interval in seconds",
    "custominterval_help": "How long to wait between two runs.",
    "dashboardcreated": "Dashboard created",
    "dashboardlayout": "Layout",
    "dashboardnotfound": "This dashboard does not exist.",
    "dashboardscoperequired": "A scope has to be chosen.",
    "dashboardsettings": "Dashboard settings",
    "dashboardupdated": "Dashboard updated",
    "databaseerror": "The database could not answer: {$a}",
    "dragwidgetshere": "Drag widgets here",
    "editdashboard": "Edit dashboard",
    "forcecloud": "Always in the cloud",
    "forcelocal": "Always by Moodle",
    "global": "Everybody",
    "invaliddashboardscope": "This scope does not exist.",
    "invaliddatasource": "This data source does not exist.",
    "invalidjson": "This is no valid JSON.",
    "invalidparameters": "The parameters are not valid: {$a}",
    "invalidsql": "This SQL is not allowed: {$a}",
    "invalidwidgettype": "This type of widget does not exist.",
    "metric": "Metric",
    "nopermission": "You may not do this.",
    "personal": "Personal",
    "reportnamerequired": "A report needs a name.",
    "savedashboard": "Save dashboard",
    "scope": "Scope",
    "selectcompany": "Select a company",
    "selectmetric": "Select a metric",
    "sqlqueryrequired": "A report needs a query.",
    "suppressifcomplete": "Only to those who have not completed",
    "suppressifcomplete_help": "Nobody who has completed the course gets this mail.",
    "suppressionsettings": "Who gets no mail",
    "title": "Title",
    "widgetlabelrequired": "A widget needs a label.",
    "widgetmetricrequired": "A widget needs a metric.",
    "widgetnotfound": "This widget does not exist.",
    "widgetpalette": "Widgets",
}
"""English strings that earlier pages ask for and never had."""
