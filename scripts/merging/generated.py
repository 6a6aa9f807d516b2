"""The text of the PHP files that the merge makes."""

from __future__ import annotations

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"

HEADER = """<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

/**
 * {what}
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
"""

GUARD = "\ndefined('MOODLE_INTERNAL') || die();\n"


def file(what: str, *parts: str) -> str:
    """A guarded file: header, then the parts."""
    return (
        HEADER.replace("{what}", what)
        + GUARD
        + "".join(f"\n{part.strip(chr(10))}\n" for part in parts)
    )


def template(name: str, **values: str) -> str:
    """One of the files beside this module, its {{names}} filled."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text
