"""lib.php of both. A callback that both have is answered by a small one that calls both; callbacks
that Moodle has replaced by hooks get the hook's callback as well."""

from __future__ import annotations

import re

from . import generated, php
from .errors import MergeError
from .tree import Plugin, Result

PREFIX = "local_manireports_"
PATH = "lib.php"

HOOKS = {
    "before_standard_html_head": "before_standard_head_html_generation",
    "before_standard_top_of_body_html": "before_standard_top_of_body_html_generation",
    "before_footer": "before_footer_html_generation",
    "standard_footer_html": "before_standard_footer_html_generation",
}
"""Callbacks of lib.php, and the hook in core\\hook\\output that Moodle 4.4 has instead."""

BOTH_RUN = {
    "extend_navigation", "extend_navigation_category_settings", "extend_navigation_course",
    "extend_navigation_frontpage", "extend_navigation_user", "extend_navigation_user_settings",
    "extend_settings_navigation", "myprofile_navigation", "after_require_login", "after_config",
    "before_http_headers", "pre_user_delete", "pre_course_delete",
}  # fmt: skip
BOTH_SAY = {*HOOKS, "render_navbar_output"}
FIRST_THAT_SERVES = {"pluginfile"}


def merge_lib(earlier: Plugin, cloud: Plugin, result: Result) -> str:
    """Writes lib.php; the db/hooks.php that the earlier callbacks need, or nothing."""
    if PATH not in earlier.files:
        if PATH in cloud.files:
            result.put(PATH, cloud.text(PATH), "cloud")
        return ""
    theirs = {f.name: f for f in php.functions(earlier.text(PATH))}
    ours = {f.name: f for f in php.functions(cloud.text(PATH))} if PATH in cloud.files else {}
    shared = sorted(set(theirs) & set(ours))
    parts = [f"require_once(__DIR__ . '/lib/{name}.php');" for name in ("earlier", "cloud")]
    parts += [_answer(name, theirs[name]) for name in shared]
    hooked = _hooks(earlier, [*theirs], shared, result)
    if not ours:
        result.put(PATH, earlier.text(PATH), "earlier")
        return hooked
    for plugin in (earlier, cloud):
        names = {name: _own(plugin.name, name) for name in shared}
        text = plugin.text(PATH)
        text = php.rename_calls(text, names) if names else text
        result.put(f"lib/{plugin.name}.php", php.one_folder_deeper(text), plugin.name)
    result.counts["callbacks in lib.php"] = (len(theirs), len(ours))
    result.put(
        PATH, generated.file("What Moodle calls, in both halves of this plugin.", *parts), "both"
    )
    return hooked


def _own(half: str, name: str) -> str:
    return name.replace(PREFIX, f"{PREFIX}{half}_", 1)


def _answer(name: str, function: php.Function) -> str:
    """A function of this name that calls both halves'."""
    callback = name.removeprefix(PREFIX)
    variables = re.findall(
        r"(\.\.\.)?(?:&\s*)?(\$\w+)", php.code("<?php " + function.signature)[6:]
    )
    arguments = ", ".join(spread + variable for spread, variable in variables)
    first, second = (f"{_own(half, name)}({arguments})" for half in ("earlier", "cloud"))
    if callback in BOTH_SAY:
        lines = [f"return {first} . {second};"]
    elif callback in FIRST_THAT_SERVES:
        lines = [f"return {first} ?: {second};"]
    elif callback in BOTH_RUN:
        lines = [f"{first};", f"{second};"]
    else:
        raise MergeError(f"{PATH}: both plugins define {name}()")
    signature = " ".join(function.signature.split())
    head = ["/**", " * What both halves of this plugin do here.", " */"]
    body = [f"function {name}({signature}) {{", *(f"    {line}" for line in lines), "}"]
    return "\n".join(head + body)


def _hooks(earlier: Plugin, names: list[str], shared: list[str], result: Result) -> str:
    """The callbacks of hooks that stand for their old callbacks, unless they have some already."""
    there = earlier.text("db/hooks.php") if "db/hooks.php" in earlier.files else ""
    found = [
        (callback, hook)
        for callback, hook in HOOKS.items()
        if PREFIX + callback in names and not re.search(rf"\b{hook}\b", there)
    ]
    if not found:
        return ""
    methods, lines = [], ["$callbacks = ["]
    for callback, hook in found:
        name = PREFIX + callback
        name = _own("earlier", name) if name in shared else name
        methods.append(
            generated.template("hook_method.php", hook=hook, callback=callback, function=name)
        )
        lines += [
            "    [",
            rf"        'hook' => \core\hook\output\{hook}::class,",
            # Moodle 4.3 reads every entry, and takes no array here.
            rf"        'callback' => \local_manireports\earlier\hooks::class . '::{hook}',",
            "    ],",
        ]
        result.change(PATH, f"{callback} also answers the hook that Moodle 4.4 has instead")
    result.put(
        "classes/earlier/hooks.php",
        generated.template("hooks_class.php", methods="\n".join(methods).rstrip("\n")),
        "new",
    )
    return generated.file(
        "Hooks that the earlier callbacks in lib.php answer.", "\n".join([*lines, "];"])
    )
