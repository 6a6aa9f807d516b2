"""install.php, upgrade.php and uninstall.php of both: each half under its own names, and files
that call one after the other."""

from __future__ import annotations

import re

from . import generated, php
from .errors import MergeError
from .tree import Plugin, Result, beside

UPGRADE = "xmldb_local_manireports_upgrade"
SAVEPOINT = "upgrade_plugin_savepoint"


def merge_upgrade(earlier: Plugin, cloud: Plugin, result: Result, only_earlier: list[str]) -> None:
    """Writes everything under db/ that Moodle runs once. `only_earlier` are tables of the earlier
    plugin alone: they tell which of the two a site has run."""
    for plugin in (earlier, cloud):
        path = "db/upgrade.php"
        text = plugin.text(path) if path in plugin.files else ""
        if plugin is earlier and text:
            text = _whole_functions(text, result)
        if text:
            names = {
                UPGRADE: _own(plugin, UPGRADE),
                SAVEPOINT: f"local_manireports_{plugin.name}_savepoint",
            }
            _put_half(plugin, path, text, names, result)
    steps = {plugin.name: "db/upgrade.php" in plugin.files for plugin in (earlier, cloud)}
    result.put(
        "db/upgrade.php",
        generated.template(
            "upgrade.php",
            earlier_version=str(earlier.version),
            cloud_version=str(cloud.version),
            earlier_steps="true" if steps["earlier"] else "false",
            cloud_steps="true" if steps["cloud"] else "false",
            earlier_tables="".join(f"        '{name}',\n" for name in only_earlier),
        ),
        "both",
    )
    result.put("db/merged/schema.php", generated.template("schema.php"), "new")
    _merge_once("install", earlier, cloud, result)
    _merge_once("uninstall", earlier, cloud, result)


def _own(plugin: Plugin, name: str) -> str:
    return name.replace("xmldb_local_manireports", f"local_manireports_{plugin.name}")


def _put_half(plugin: Plugin, path: str, text: str, names: dict[str, str], result: Result) -> None:
    result.put(
        beside(path, plugin.name), php.one_folder_deeper(php.rename_calls(text, names)), plugin.name
    )


def _whole_functions(text: str, result: Result) -> str:
    """Their upgrade.php. If it breaks off, as one that was committed half-way does, its complete
    functions; MergeError if Moodle's is not among them."""
    masked = php.code(text)
    found = php.functions(text)
    if UPGRADE not in {function.name for function in found}:
        raise MergeError(f"db/upgrade.php: {UPGRADE} is missing or does not end")
    if masked.count("{") == masked.count("}"):
        return text
    result.change(
        "db/upgrade.php",
        "breaks off in the middle of a function: only its whole functions are kept",
    )
    return text[: found[0].start] + "\n\n".join(text[f.start : f.end] for f in found) + "\n"


def _merge_once(what: str, earlier: Plugin, cloud: Plugin, result: Result) -> None:
    """install.php or uninstall.php; both halves may have one, either, or none."""
    path, name = f"db/{what}.php", f"xmldb_local_manireports_{what}"
    calls = []
    for plugin in (earlier, cloud):
        if path not in plugin.files:
            continue
        text = plugin.text(path)
        if name not in {function.name for function in php.functions(text)}:
            raise MergeError(f"{plugin.name}: {path} lacks {name}()")
        _put_half(plugin, path, text, {name: _own(plugin, name)}, result)
        calls += [
            f"    require_once(__DIR__ . '/{plugin.name}/{what}.php');",
            f"    {_own(plugin, name)}();",
        ]
    if what == "uninstall":
        if not calls:
            return
        # What the cloud half hands back to Moodle has to go first, while everything still works.
        calls = calls[2:] + calls[:2]
        calls.append("    return true;")
    else:
        calls += [
            f"    set_config('earlierversion', {earlier.version}, 'local_manireports');",
            f"    set_config('cloudversion', {cloud.version}, 'local_manireports');",
            "    return true;",
        ]
    body = "\n".join(
        [
            "/**",
            f" * What both halves do at {what}.",
            " *",
            " * @return bool",
            " */",
            f"function {name}() {{",
            *calls,
            "}",
        ]
    )
    result.put(path, generated.file(f"The {what} of both halves of this plugin.", body), "both")


def version_file(earlier: Plugin, cloud: Plugin, version: int) -> str:
    """version.php of the merged plugin."""
    requires = max(
        (int(p.facts.get("requires", "0").split(".")[0] or 0) for p in (earlier, cloud)), default=0
    )
    lines = [
        "$plugin->component = 'local_manireports';",
        f"$plugin->version = {version};",
        f"$plugin->requires = {requires};",
    ]
    if supported := cloud.facts.get("supported"):
        lines.append(f"$plugin->supported = {supported};")
    wanted = [p.facts["dependencies"] for p in (earlier, cloud) if p.facts.get("dependencies")]
    if wanted:
        lines.append("$plugin->dependencies = " + " + ".join(wanted) + ";")
    ranks = ["MATURITY_ALPHA", "MATURITY_BETA", "MATURITY_RC", "MATURITY_STABLE"]
    maturity = [m for p in (earlier, cloud) if (m := p.facts.get("maturity", "")) in ranks]
    if maturity:
        lines.append(f"$plugin->maturity = {min(maturity, key=ranks.index)};")
    releases = [re.sub(r"[^\w.+ -]", "", p.facts.get("release", "")) for p in (cloud, earlier)]
    lines.append(f"$plugin->release = '{releases[0]} with ManiReports {releases[1]}';")
    lines.append("")
    lines.append(
        f"// Made of ManiReports {earlier.version} and the sidecar's plugin {cloud.version}."
    )
    return generated.file("Version of the merged plugin.", "\n".join(lines))
