"""db/install.xml: their tables and ours; the earlier cloud tables give way to ours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from .errors import MergeError
from .tree import Plugin, Result

PATH = "db/install.xml"
BECOMES = {
    "manireports_cloud_jobs": "manireports_cloud_jobs",
    "manireports_cloud_recip": "manireports_cloud_recipients",
    "manireports_cloud_recipients": "manireports_cloud_recipients",
    "manireports_cloud_conf": "manireports_cloud_company_settings",
    "manireports_cloud_company_settings": "manireports_cloud_company_settings",
    "manireports_cloud_import_batches": "manireports_cloud_import_batches",
    "manireports_cloud_batches": "manireports_cloud_import_batches",
}
"""Which of our tables holds what an earlier one held."""

BLOCK = re.compile(r"[ \t]*<TABLE\s[^>]*?NAME=\"([^\"]+)\".*?</TABLE>[ \t]*\r?\n?", re.DOTALL)


def table_names(plugin: Plugin) -> list[str]:
    """The tables of a plugin, in their order; none without an install.xml."""
    return list(_blocks(plugin))


def merge_tables(earlier: Plugin, cloud: Plugin, result: Result, version: int) -> list[str]:
    """Writes the one install.xml; the names of the tables that only the earlier plugin has."""
    theirs, ours = _blocks(earlier), _blocks(cloud)
    kept = {}
    for name, block in theirs.items():
        if name in BECOMES:
            _refuse_unknown_columns(name, block, ours.get(BECOMES[name], ""))
            result.dropped[f"their table {name}"] = f"its rows become those of our {BECOMES[name]}"
        elif name in ours:
            raise MergeError(f"{PATH}: both plugins have a table {name}")
        else:
            kept[name] = block
    text = cloud.text(PATH)
    first = BLOCK.search(text)
    if first is None:
        raise MergeError(f"{cloud.name}: {PATH} holds no table")
    merged = text[: first.start()] + "".join(kept.values()) + text[first.start() :]
    merged = re.sub(r'VERSION="\d+"', f'VERSION="{version}"', merged, count=1)
    result.put(
        PATH, re.sub(r'COMMENT="[^"]*"', 'COMMENT="Tables of ManiReports"', merged, count=1), "both"
    )
    result.counts["tables"] = (len(kept), len(ours))
    found = [table.get("NAME") for table in _root(merged, "the merged").iter("TABLE")]
    if found != [*kept, *ours]:
        raise MergeError(f"{PATH}: could not be put together")
    return list(kept)


def _root(text: str, name: str) -> ET.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MergeError(f"{name}: {PATH} has a document type, which Moodle's files never have")
    try:
        return ET.fromstring(text.encode())  # noqa: S314 - no document type, so no entities
    except ET.ParseError as error:
        raise MergeError(f"{name}: {PATH} is not well-formed: {error}") from error


def _blocks(plugin: Plugin) -> dict[str, str]:
    if PATH not in plugin.files:
        return {}
    text = plugin.text(PATH)
    names = [table.get("NAME") for table in _root(text, plugin.name).iter("TABLE")]
    without_comments = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    blocks = {
        found[1]: "    " + found[0].strip() + "\n" for found in BLOCK.finditer(without_comments)
    }
    if list(blocks) != names:
        raise MergeError(f"{plugin.name}: {PATH} has tables that cannot be told apart")
    return blocks


def _columns(block: str) -> set[str]:
    return {field.get("NAME", "") for field in ET.fromstring(block).iter("FIELD")}  # noqa: S314


def _refuse_unknown_columns(name: str, theirs: str, ours: str) -> None:
    lost = sorted(_columns(theirs) - (_columns(ours) if ours else set()))
    if lost:
        raise MergeError(
            f"{PATH}: {name} has columns that {BECOMES[name]} lacks: {', '.join(lost)}"
        )
