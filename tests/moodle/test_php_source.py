"""What is found in a config.php without running it; real PHP judges."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sidecar.moodle.php_source import Findings, find_settings

from .php import run

ENV = {"SET": "from env"}


def find(statements: str) -> Findings:
    opening = "<?php unset($CFG); global $CFG; $CFG = new stdClass();\n"
    closing = "\nrequire_once(__DIR__ . '/lib/setup.php');"
    return find_settings(opening + statements + closing, Path("/moodle/config.php"), ENV)


UNREAD = [
    "if (PHP_SAPI === 'cli') { $CFG->a = 2; }",
    "if (true) $CFG->a = 2;",
    "if (false) { } elseif (true) { $CFG->a = 2; }",
    "if (false): else: $CFG->a = 2; endif;",
    "foreach ([1] as $i) { $CFG->a = 2; }",
    "switch (1) { case 1: $CFG->a = 2; break; }",
    "try { $CFG->a = 2; } finally { }",
    "$CFG->a .= 'x';",
    "$CFG->a++;",
    "$CFG->a ??= 'x';",
    "$CFG->b = $CFG->a = 'x';",
    "$CFG->a = strtoupper('x');",
    "$CFG->a = $_SERVER['HTTP_HOST'] ?? 'x';",
    "$CFG->a = getenv('NOTHING');",
    "$CFG->a = getenv('NOTHING') ?? 'x';",
    "$CFG->a = <<<'X'\n; $CFG->c = 1;\nX;",
    "$CFG->a = `echo x`;",
    "$CFG->a = \"{$_SERVER['x']}\";",
    '$CFG->a = "\\xff";',
    "$CFG->a[] = 1;",
    "$CFG->a = SOME_CONSTANT;",
    "$CFG->a = E_ALL | E_STRICT;",
    "unset($CFG->a);",
    "[$CFG->a, $b] = [1, 2];",
    "list($CFG->a) = [2];",
    "if (true) { $CFG->a = 2; } $CFG->b = $CFG->a;",
]


@pytest.mark.parametrize("statement", UNREAD)
def test_what_is_not_understood_is_unread(statement: str) -> None:
    found = find(f"$CFG->a = 1;\n$CFG->z = 'z';\n{statement}")
    assert "a" in found.unread
    assert "a" not in found.values
    assert found.values["z"] == "z"
    assert not found.incomplete


IN_DOUBT = [
    "require(__DIR__ . '/other.php');",
    "@include 'other.php';",
    "if (is_file('other.php')) { include_once 'other.php'; }",
    "function f() { global $CFG; $CFG->a = 2; }",
    "$f = function () use ($CFG) { $CFG->a = 2; };",
    "$copy = $CFG; $copy->a = 2;",
    "$name = 'a'; $CFG->$name = 2;",
    "$CFG->{'a'} = 2;",
    "$alias = &$CFG->a; $alias = 2;",
    "$GLOBALS['CFG']->a = 2;",
    "eval('$CFG->a = 2;');",
    "configure($CFG);",
    "$name = 'CFG'; $$name->a = 2;",
    "Include('other.php');",
]


@pytest.mark.parametrize("statement", IN_DOUBT)
def test_what_may_set_anything_puts_all_before_in_doubt(statement: str) -> None:
    found = find(f"$CFG->a = 1;\n{statement}")
    assert found.incomplete
    assert found.unread >= {"a"}
    assert not found.values


@pytest.mark.parametrize(
    "statement",
    [
        "define('X', 'y'); ini_set('display_errors', '0'); date_default_timezone_set('UTC');",
        "if ($CFG->a === 1) { error_reporting(0); } else if (isset($CFG->a)) { f($CFG->a); }",
        "if (!isset($CFG)) { die; }",
        '$other = "$CFG->a/x"; $x[] = $CFG->a == 2;',
        "function helper() { return 2; }",
        "?>\n$CFG->a = 2; html\n<?php",
        "// $CFG->a = 2; ?> <?php",
        "echo '$CFG->a = 2;';",
        "$session = \\core\\session\\redis::class . $CFG->a;",
    ],
)
def test_what_sets_nothing_changes_nothing(statement: str) -> None:
    found = find(f"$CFG->a = 1;\n{statement}")
    assert (found.values, found.unread, found.incomplete) == ({"a": 1}, set(), False)


def test_a_later_assignment_settles_what_was_unread() -> None:
    found = find("if (x()) { $CFG->a = 1; }\ninclude 'x.php';\n$CFG->a = 2;")
    assert (found.values, found.unread, found.incomplete) == ({"a": 2}, set(), True)


def test_nothing_after_the_end_counts() -> None:
    assert find("$CFG->a = 1; return; $CFG->a = 2;").values == {"a": 1}


# Never guessing: every value found is PHP's, and no name is missed --------------------------------

ORACLE = r"""
error_reporting(0);
putenv('SET=from env');
include $argv[1];
echo "\n", json_encode((array) $CFG, JSON_PARTIAL_OUTPUT_ON_ERROR);
"""

names = st.sampled_from(["a", "b", "c", "d"])
expressions = st.recursive(
    st.sampled_from([
        "'x'", "'it\\'s \\\\ \\n'", '"y\\n\\$\\x41\\101\\q"', "1", "-2", "0x1F", "017", "1_000",
        "1.5", "true", "FALSE", "null", "[]", "array()", "getenv('SET')", "getenv('NO')",
        "getenv('NO') ?: 'd'", "getenv('SET') ?: 'd'", "__DIR__ . '/x'", "dirname(__FILE__)",
        "$CFG->a", "$CFG->b['k']", '"$CFG->a/{$CFG->b}"', '"{$CFG->c[0]}"', "$CFG->d ?? 'dd'",
        "PHP_VERSION", "strtoupper('x')", "$_SERVER['no'] ?? 'n'", "new stdClass()",
        "SOMETHING::class",
    ]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([".", "??", "?:", "+", "=="]), inner).map(" ".join),
        st.tuples(inner, inner, inner).map(lambda e: f"({e[0]}) ? ({e[1]}) : ({e[2]})"),
        inner.map("({})".format),
        st.tuples(st.sampled_from(["(int) ", "(bool) ", "(string) ", "!"]), inner).map("".join),
        st.lists(inner, max_size=3).map(lambda e: f"[{', '.join(e)}]"),
        st.lists(
            st.tuples(st.sampled_from(["'k'", "'0'", "5"]), inner).map(" => ".join), max_size=3
        ).map(lambda e: f"array({', '.join(e)},)" if e else "array()"),
    ),
    max_leaves=4,
)  # fmt: skip
simple = st.one_of(
    st.tuples(names, expressions).map(lambda s: f"$CFG->{s[0]} = {s[1]};"),
    st.tuples(names, expressions).map(lambda s: f"$CFG->{s[0]}['k'] = {s[1]};"),
    st.tuples(names, expressions).map(lambda s: f"$CFG->{s[0]}['k'][0] = {s[1]};"),
    st.tuples(names, expressions).map(lambda s: f"$CFG->{s[0]} ??= {s[1]};"),
    st.tuples(names, names, expressions).map(lambda s: f"$CFG->{s[0]} = $CFG->{s[1]} = {s[2]};"),
    names.map("unset($CFG->{});".format),
    names.map("[$CFG->{}, $x] = [1, 2];".format),
    names.map("$y = $CFG->{} ?? 1;".format),
    names.map("$CFG->{}->k ??= 1;".format),
    names.map("$copy = $CFG; $copy->{} = 'copy';".format),
    names.map("$name = '{}'; $CFG->$name = 'name';".format),
    names.map("$alias = &$CFG->{};".format),
    st.just("$alias = 'alias';"),
    st.sampled_from(["// $CFG->a = 9;", "/* ' */", "?> $CFG->a = 9; <?php", '# " ?><?php ', ";"]),
)
statements = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["true", "false", "$CFG->a ?? 0"]), inner, inner).map(
            lambda s: f"if ({s[0]}) {{ {s[1]} }} else {{ {s[2]} }}"
        ),
        inner.map("if (true): {} endif;".format),
        inner.map("foreach ([1, 2] as $i) {{ {} }}".format),
        inner.map("switch (1) {{ case 1: {} }}".format),
        inner.map("(function () {{ global $CFG; {} }})();".format),
        inner.map("do {{ {} }} while (false);".format),
        st.tuples(inner, inner).map("\n".join),
    ),
    max_leaves=4,
)


@settings(deadline=None)
@given(body=st.lists(statements, max_size=6).map("\n".join))
def test_a_value_is_what_php_says_or_unread(
    tmp_path_factory: pytest.TempPathFactory, body: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "config.php"
    file.write_text(f"<?php\n$CFG = new stdClass();\n$CFG->z = 1;\n{body}\n")
    try:
        truth = json.loads(run(ORACLE, str(file)).rpartition(b"\n")[2])
    except (subprocess.CalledProcessError, ValueError):
        assume(False)  # PHP found an error: there is no truth to compare with
    found = find_settings(file.read_text(), file, ENV)
    for name, value in found.values.items():
        assert json.dumps(truth.get(name)) == json.dumps(value)
    if not found.incomplete:
        assert truth.keys() <= found.values.keys() | found.unread
