"""Privacy provider, settings, strings and styles of both."""

from __future__ import annotations

import re

from . import generated, php
from .errors import MergeError
from .tree import Plugin, Result

PRIVACY = "classes/privacy/provider.php"
SETTINGS = "settings.php"
STYLES = "styles.css"
STRING = re.compile(r"^[ \t]*\$string\s*\[\s*(['\"])(.+?)\1\s*\]\s*=", re.MULTILINE)
PREFERENCES = "user_preference_provider"


def merge_privacy(earlier: Plugin, cloud: Plugin, result: Result) -> None:
    """Both providers under names of their own, and one that asks both."""
    there = [plugin for plugin in (earlier, cloud) if PRIVACY in plugin.files]
    if len(there) < 2:
        for plugin in there:
            result.put(PRIVACY, plugin.text(PRIVACY), plugin.name)
        return
    preferences = False
    for plugin in there:
        text = plugin.text(PRIVACY)
        masked = php.code(text)
        declared = re.search(r"\bclass\s+(provider)\b", masked)
        if declared is None:
            raise MergeError(f"{plugin.name}: {PRIVACY} has no class provider")
        preferences |= PREFERENCES in masked
        text = text[: declared.start(1)] + f"{plugin.name}_provider" + text[declared.end(1) :]
        result.put(f"classes/privacy/{plugin.name}_provider.php", text, plugin.name)
    result.put(
        PRIVACY,
        generated.template(
            "privacy.php",
            preferences_interface=f",\n    \\core_privacy\\local\\request\\{PREFERENCES}"
            if preferences
            else "",
            preferences_method=generated.template("privacy_preferences.php") if preferences else "",
        ),
        "both",
    )


def merge_settings(earlier: Plugin, cloud: Plugin, result: Result) -> None:
    """Both settings.php, one after the other. MergeError if they make the same admin page."""
    there = [plugin for plugin in (earlier, cloud) if SETTINGS in plugin.files]
    if len(there) < 2:
        for plugin in there:
            result.put(SETTINGS, plugin.text(SETTINGS), plugin.name)
        return
    pages = [_admin_pages(plugin.text(SETTINGS)) for plugin in there]
    both = sorted(set(pages[0]) & set(pages[1]) - _guarded(cloud.text(SETTINGS)))
    if both:
        raise MergeError(f"{SETTINGS}: both plugins make the admin page {', '.join(both)}")
    for plugin in there:
        result.put(
            f"settings/{plugin.name}.php", php.one_folder_deeper(plugin.text(SETTINGS)), plugin.name
        )
    result.counts["admin pages"] = (len(pages[0]), len(pages[1]))
    result.put(SETTINGS, generated.template("settings.php"), "both")


def _admin_pages(text: str) -> list[str]:
    masked = php.code(text, strings=True)
    return re.findall(
        r"new\s+\\?admin_(?:category|settingpage|externalpage)\(\s*['\"](\w+)['\"]", masked
    )


def _guarded(text: str) -> set[str]:
    """Pages that a settings.php makes only where they are missing."""
    masked = php.code(text, strings=True)
    return set(re.findall(r"!\s*\$ADMIN->locate\(\s*['\"](\w+)['\"]", masked))


def strings(text: str) -> dict[str, str]:
    """The strings of a language file: key to the statement that defines it, without comments."""
    return {key: " ".join(statement.split()) for key, statement, _, _ in _statements(text)}


def _statements(text: str) -> list[tuple[str, str, int, int]]:
    commentless = php.code(text, strings=True)
    masked = php.code(text)
    found = []
    for match in STRING.finditer(commentless):
        end = masked.find(";", match.end())
        if masked[match.start() : match.end()].count("$string") and end > 0:
            found.append((match[2], text[match.start() : end + 1].strip(), match.start(), end + 1))
    return found


def merge_strings(
    path: str,
    earlier: Plugin,
    cloud: Plugin,
    result: Result,
    missing: dict[str, str],
    more: dict[str, str],
) -> None:
    """One language file: theirs as it is, then ours. `missing` are strings that their pages may ask
    for and never had, `more` those of the files that replace theirs. MergeError if a key means two
    things."""
    theirs = strings(earlier.text(path)) if path in earlier.files else {}
    ours = {k: s for k, s, _, _ in _statements(cloud.text(path))} if path in cloud.files else {}
    result.counts[path] = (len(theirs), len(ours))
    both = {key for key in theirs if key in ours}
    conflicts = sorted(
        key
        for key in both
        if _value(theirs[key]) != _value(ours[key])
        and key not in {"pluginname", "privacy:metadata"}
    )
    if conflicts:
        raise MergeError(f"{path}: both plugins define {', '.join(conflicts)}, differently")
    if not theirs:
        result.put(path, cloud.files[path], "cloud")
        return
    lines = [statement for key, statement in ours.items() if key not in both]
    asked = {key: text for key, text in missing.items() if key not in theirs and key not in ours}
    parts = [earlier.text(path).rstrip().removesuffix("?>").rstrip()]
    if asked:
        parts.append("// What earlier pages ask for and never had.")
        parts.append("\n".join(_defined(asked)))
        result.change(path, f"{len(asked)} strings that earlier pages ask for and never had")
    lines += _defined(
        {key: text for key, text in more.items() if key not in theirs and key not in ours}
    )
    if lines:
        parts.append("// Strings of the sidecar's half.")
        parts.append("\n".join(lines))
    result.put(path, "\n\n".join(parts) + "\n", "both" if lines or asked else "earlier")


def _defined(texts: dict[str, str]) -> list[str]:
    quoted = {key: text.replace("\\", "\\\\").replace("'", "\\'") for key, text in texts.items()}
    return [f"$string['{key}'] = '{text}';" for key, text in sorted(quoted.items())]


def _value(statement: str) -> str:
    return statement.split("=", 1)[1].strip()


def merge_styles(earlier: Plugin, cloud: Plugin, result: Result) -> None:
    """Both style sheets, theirs first."""
    there = [plugin for plugin in (earlier, cloud) if STYLES in plugin.files]
    if there:
        text = "\n".join(plugin.text(STYLES).rstrip() + "\n" for plugin in there)
        result.put(STYLES, text, "both" if len(there) > 1 else there[0].name)
