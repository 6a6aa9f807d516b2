"""The plugin's PHP by its text: pages and services that are guarded, SQL that holds no values."""

import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "moodle_plugin"
UI = PLUGIN / "ui"
PAGES = sorted(UI.rglob("*.php"))

WITHOUT_LOGIN = {
    "cloud_callback.php": "for machines: the report's signature is the login",
    "unsubscribe.php": "for readers of a mail: the token in its link is the right",
}

READS = {
    *("access::company_names", "access::context", "access::require", "answers::words"),
    *("campaign_form::written", "campaign_page::begin_with", "campaigns::read"),
    *("cloud_job_manager::each", "cloud_job_manager::read", "core_php_time_limit::raise"),
    *("dataformat::download_data", "downloads::job", "downloads::job_columns"),
    *("downloads::mail_columns", "encryption::decrypt", "job_actions::possible"),
    *("job_filter::from_request", "job_view::button", "notification::error", "page::begin"),
    *("recipients::each", "recipients::states", "requests::read", "settings_rules::values"),
    *("suppressions::split", "suppressions_filter::from_request", "suppressions_list::said"),
    "system::instance",
}
"""What pages call that changes nothing. Any other call counts as a change."""

COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*|(?<=\s)//[^\n]*", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"\b([a-z_]+::[a-z_]+)\(")
GUARD = re.compile(r"\b(?:require|confirm)_sesskey\(\)")


def code(path: Path) -> str:
    """A file without its comments."""
    return COMMENT.sub("", path.read_text("utf-8"))


def blocks(text: str) -> list[str]:
    """The statements at the outermost level, each with the block that belongs to it."""
    found, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "{([") - (sign in "})]")
        if depth == 0 and sign in ";}":
            found.append(text[start : at + 1])
            start = at + 1
    return found


def unguarded(text: str) -> list[str]:
    """The calls of a page that change something before a session key was asked for."""
    found, guarded, form = [], False, False
    for block in blocks(text):
        form = form or "= $form->get_data();" in block
        if form and re.match(r"\s*if \(\$data\)", block):
            continue  # a moodleform gives data only with the session key
        guards = [match.start() for match in GUARD.finditer(block)]
        for call in CALL.finditer(block):
            safe = guarded or any(guard < call.start() for guard in guards)
            if not safe and call[1] not in READS:
                found.append(call[1])
        guarded = guarded or bool(re.match(r"\s*require_sesskey\(\);", block))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_asks_for_a_login_and_a_capability(path: Path) -> None:
    text = code(path)
    assert not re.search(r"\$_(GET|POST|REQUEST|COOKIE)\b", text)
    if path.name in WITHOUT_LOGIN:
        assert "define('NO_MOODLE_COOKIES', true);" in text, "it must not ride on a session"
        return
    begun = re.search(r"\bpage::begin\([^;]*\baccess::[A-Z]+\s*\);", text)
    assert begun, "no login and capability"
    early = set(CALL.findall(text[: begun.start()]))
    assert early <= {"job_filter::from_request", "suppressions_filter::from_request"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_changes_nothing_without_a_session_key(path: Path) -> None:
    if path.name not in WITHOUT_LOGIN:
        assert unguarded(code(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "if ($a) { things::change(1); require_sesskey(); }",
        "if ($a) { require_sesskey(); } if ($b) { things::change(1); }",
        "$data = $form->get_data(); if ($other) { things::change(1); }",
        "things::change(1); require_sesskey();",
    ],
)
def test_an_unguarded_change_is_seen(text: str) -> None:
    assert unguarded(text) == ["things::change"]


def test_those_without_a_login_have_their_reason() -> None:
    assert {path.name for path in PAGES} >= set(WITHOUT_LOGIN)
    assert "hash_equals(" in code(PLUGIN / "classes" / "cloud" / "callback.php")
    unsubscribe = code(UI / "unsubscribe.php")
    assert unsubscribe.index("unsubscribing::is_token(") < unsubscribe.index("unsubscribing::ask(")


def body(path: str, function: str) -> str:
    """The text of a function of the plugin's classes."""
    text = code(PLUGIN / "classes" / path)
    begin = text.index(f"function {function}(")
    return text[begin : text.find("\n    }\n", begin)]


ASKS = {
    "page::begin": ("cloud/page.php", r"require_login\(.*access::require_any\(\$capability\)"),
    "cloud_job_manager::read": ("api/cloud_job_manager.php", r"access::require\(\$capability"),
    "job_actions::perform": ("cloud/job_actions.php", r"cloud_job_manager::read\("),
    "job_actions::resend": ("cloud/job_actions.php", r"cloud_job_manager::read\("),
    "job_actions::pause_everything": ("cloud/job_actions.php", r"require_capability\("),
}
"""Functions that ask for the capability themselves, and where that can be read."""


@pytest.mark.parametrize("name", ASKS)
def test_what_is_relied_on_asks_for_the_capability(name: str) -> None:
    path, pattern = ASKS[name]
    assert re.search(pattern, body(path, name.partition("::")[2]), re.DOTALL)


def test_services_need_login_session_key_and_capability() -> None:
    """Moodle's own ajax/service.php asks for login and session key, unless a service opts out."""
    text = code(PLUGIN / "db" / "services.php")
    entries = re.findall(r"'(local_manireports_\w+)' => \[(.*?)\n    \],", text, re.DOTALL)
    folder = PLUGIN / "classes" / "external"
    texts = {path.stem: code(path) for path in folder.glob("*.php")}
    assert len(entries) == sum("function execute(" in made for made in texts.values())
    for name, entry in entries:
        assert "loginrequired" not in entry, name
        assert re.search(r"'capabilities' => '[\w/]+:\w+'", entry), name
        own = texts[name.removeprefix("local_manireports_")]
        parent = re.search(r"class \w+ extends (\w+)", own)
        both = own + texts.get(parent[1] if parent else "", "")
        assert "validate_parameters" in both, name
        assert "validate_context" in both, name
        asked = [call for call in ASKS if f"{call}(" in own]
        assert asked or re.search(r"access::require(_any)?\(", both), name


LITERAL = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|AND|OR|IN|LIKE|SET|JOIN|VALUES|EXISTS"
    r"|ORDER BY|GROUP BY|LIMIT)\b"
)
CONDITIONS = {"ended", "in", "notended", "waits"}
"""Variables in SQL that hold what get_in_or_equal() made: "IN (:a, :b)"."""

TEXT = {
    *("answer", "byid", "filtered", "known", "like", "mine", "nobody", "params", "same", "sql"),
    *("visible", "where", "alias", "clock", "column", "columns", "list", "names", "new", "old"),
    *("table", "took", "unique"),
}
"""Variables in SQL that hold conditions with placeholders, or names of columns: our own text."""

NUMBERS = {"campaign", "now", "since", "slot", "window"}
"""Variables in SQL that hold a number of ours: an int parameter, time() or a constant."""

REQUEST = re.compile(r"_param(_array)?\(|\$_[A-Z]|\$data\b|\$USER|get_data\(|json_decode\(|getenv")


def wrong_sql(text: str) -> list[str]:
    """What is put into the text of SQL and may be a value."""
    found: set[str] = set()
    for literal in LITERAL.finditer(text):
        if not SQL.search(literal[0]):
            continue
        if literal[0][0] == '"':
            found |= set(re.findall(r"\$(\w+(?:->\w+|\[)?)", literal[0]))
        joined = re.match(r"\s*\.\s*\$(\w+(?:->\w+)?)", text[literal.end() :])
        if joined and not joined[1].startswith("DB->sql_"):
            found.add(f". {joined[1]}")
    wrong = [name for name in sorted(found) if name not in CONDITIONS | TEXT | NUMBERS]
    for name in sorted(found & (CONDITIONS | TEXT | NUMBERS)):
        target = rf"(?:\${name}|\[\${name}\b[^\]=]*\])\s*\.?=(?![=>])\s*([^;]*);"
        needed = "$DB->get_in_or_equal(" if name in CONDITIONS else ""
        wrong += [
            f"{name} = {assigned}"
            for assigned in re.findall(target, text)
            if REQUEST.search(assigned) or needed not in assigned
        ]
    return wrong


FILES = [path for path in sorted(PLUGIN.rglob("*.php")) if {"lang", "tests"}.isdisjoint(path.parts)]


def test_no_sql_is_built_from_values() -> None:
    found = {str(path.relative_to(PLUGIN)): wrong_sql(code(path)) for path in FILES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert sum(len(SQL.findall(code(path))) for path in FILES) > 100, "there is SQL to look at"


@pytest.mark.parametrize(
    "text",
    [
        "$DB->get_records_sql(\"SELECT id FROM {user} WHERE email = '$email'\");",
        "$DB->execute(\"UPDATE {user} SET name = '{$row->name}'\");",
        "$DB->execute('DELETE FROM {user} WHERE id = ' . $id);",
        '$where = optional_param("w", "", PARAM_RAW); $DB->count("SELECT 1 WHERE $where");',
        '$in = implode(",", $ids); $DB->get_records_sql("SELECT 1 FROM {user} WHERE id IN $in");',
    ],
)
def test_a_value_in_sql_is_seen(text: str) -> None:
    assert wrong_sql(text) != []
