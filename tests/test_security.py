"""What must never be in the code. The plugin's PHP: plugin/test_php_rules.py; what must never leave
the process: e2e/test_planted_secrets.py."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sidecar").rglob("*.py"))
PHP = sorted((ROOT / "moodle_plugin").rglob("*.php"))
STATEMENT = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|DROP|ALTER|CREATE)\b", re.IGNORECASE
)
FIXED_NAMES = {
    "sidecar/store/grants.py",
    "sidecar/store/engines.py",
    "sidecar/store/hand_over.py",
    "sidecar/demo",
}
"""Statements whose names come from the site's own configuration and are quoted, or the demo's."""


def is_formatted_sql(node: ast.AST) -> bool:
    """Whether a piece of code puts values into the text of a statement."""
    if isinstance(node, ast.JoinedStr):
        first = node.values[0] if node.values else None
        words = first.value if isinstance(first, ast.Constant) else ""
        return isinstance(words, str) and bool(STATEMENT.match(words)) and len(node.values) > 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        left = node.left
        return (
            isinstance(left, ast.Constant)
            and isinstance(left.value, str)
            and bool(STATEMENT.match(left.value))
        )
    return False


def test_no_sql_is_built_from_strings() -> None:
    found = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if any(name.startswith(known) for known in FIXED_NAMES):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        found += [f"{name}: {ast.unparse(n)}" for n in ast.walk(tree) if is_formatted_sql(n)]
    assert found == []


def test_certificates_are_verified_everywhere() -> None:
    doubtful = re.compile(
        r"verify\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False|_create_unverified_context"
        r"|CURLOPT_SSL_VERIFYPEER'?\s*(?:=>|,)\s*(?:0|false)|rejectUnauthorized:\s*false"
    )
    workers = [p for p in (ROOT / "cloud_workers").rglob("*") if p.suffix in {".py", ".ts", ".js"}]
    files = [*SOURCES, *PHP, *(p for p in workers if "node_modules" not in p.parts)]
    assert [p.name for p in files if doubtful.search(p.read_text("utf-8"))] == []


def test_the_unit_dumps_no_core() -> None:
    for unit in (ROOT / "systemd").glob("*.service"):
        assert "LimitCORE=0\n" in unit.read_text("utf-8")
