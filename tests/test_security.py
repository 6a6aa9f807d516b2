"""What must never be in the code; what never leaves the process: e2e/test_planted_secrets.py."""

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


def test_pages_ask_for_login_a_capability_and_a_session_key() -> None:
    """Every page under ui/ but those that are made for machines and for people without a login."""
    open_to_all = {"cloud_callback.php", "unsubscribe.php"}
    for path in (ROOT / "moodle_plugin" / "ui").rglob("*.php"):
        text = path.read_text("utf-8")
        if path.name in open_to_all:
            assert "NO_MOODLE_COOKIES" in text, path.name
            continue
        # page::begin() asks for a login and a capability; it is looked at below.
        assert re.search(r"page::begin\([^;]+access::[A-Z]+|admin_externalpage_setup", text), (
            path.name
        )
        changes = re.search(r"optional_param\('(?:action|confirm|delete|do)'", text)
        if changes or "data_submitted" in text:
            assert re.search(r"require_sesskey|confirm_sesskey|moodleform|get_data", text), (
                path.name
            )
        assert not re.search(r"\$_(GET|POST|REQUEST|COOKIE)\b", text), path.name


def test_every_page_begins_with_a_login_and_a_capability() -> None:
    text = (ROOT / "moodle_plugin" / "classes" / "cloud" / "page.php").read_text("utf-8")
    begin = text[text.index("function begin(") : text.index("function time(")]
    assert "require_login(" in begin
    assert "access::require_any($capability)" in begin


def test_services_check_their_parameters_and_context() -> None:
    folder = ROOT / "moodle_plugin" / "classes" / "external"
    texts = {path.stem: path.read_text("utf-8") for path in folder.glob("cloud_*.php")}
    for name, text in texts.items():
        if "function execute(" in text:
            assert "validate_parameters" in text, name
            parent = re.search(r"class \w+ extends (\w+)", text)
            inherited = texts.get(parent[1], "") if parent else ""
            assert "validate_context" in text + inherited, name


def test_the_unit_dumps_no_core() -> None:
    for unit in (ROOT / "systemd").glob("*.service"):
        assert "LimitCORE=0\n" in unit.read_text("utf-8")
