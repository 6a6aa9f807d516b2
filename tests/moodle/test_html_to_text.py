"""The text part: the words of Moodle's html_to_text, readable, for any input."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.moodle.html_to_text import html_to_text

# (html, text) of mails that IOMAD 4.3.9 sent (iomad43_cron_mail.jsonl.gz), made shorter.
SENT = [
    (
        """<p>Dear Björn,</p>
<p>A new user account has been created for you on Rig Site and you have been issued.</p>
<p>Your current login information is now:<p>
<p>username: acme0001</br>
password: 1S$bN;ws6+</br>
(you will have to change your password when you login for the first time)</p>
<p>To access your training, login at</p>
<p><a href="http://127.0.0.1:8081/user/profile.php?id=6">http://127.0.0.1:8081/user/profile.php?id=6</a></p>
<p>Rig Support </p>
""",
        """
Dear Björn,

A new user account has been created for you on Rig Site and you have been
issued.

Your current login information is now: username: acme0001 password:
1S$bN;ws6+ (you will have to change your password when you login for the
first time)

To access your training, login at

http://127.0.0.1:8081/user/profile.php?id=6 [1]

Rig Support


Links:
------
[1] http://127.0.0.1:8081/user/profile.php?id=6

""",
    ),
    (
        """<p>Dear Gus</p>
<br>
<p>You have been granted access. Please visit <a href="http://127.0.0.1:8081/course/view.php?id=2">\
http://127.0.0.1:8081/course/view.php?id=2</a> to partake in this training.</p>
""",
        """
Dear Gus

You have been granted access. Please visit
http://127.0.0.1:8081/course/view.php?id=2 [1] to partake in this training.


Links:
------
[1] http://127.0.0.1:8081/course/view.php?id=2

""",
    ),
    (
        """<div class="text_to_html">Your login information is:<br />
   username: core0001<br />
<br />
If you need help, you can contact the site administrator,<br />
{$a->admin}</div>""",
        """
Your login information is:
username: core0001

If you need help, you can contact the site administrator,
{$a->admin}
""",
    ),
    (
        "<p>Rig Support </p><p>--</p><p>Globex Learning Team<br>+45 00 00 00 00</p>\n",
        "\nRig Support\n\n--\n\nGlobex Learning Team\n+45 00 00 00 00\n\n",
    ),
]


@pytest.mark.parametrize(("html", "text"), SENT)
def test_same_words_as_moodle(html: str, text: str) -> None:
    assert html_to_text(html).split() == text.split()
    assert max(map(len, html_to_text(html).splitlines())) <= 75


def test_a_whole_mail() -> None:
    html = (
        "<html><head><title>No</title><style>p {}</style></head><body>"
        "<h2>Welcome</h2><p>Hello <b>Ann</b>, see <a href='/a?x=1&amp;y=2'>the  course</a>,\n"
        "<a href=https://b.example/>this</a> and <a href='/a?x=1&amp;y=2'>again</a>.</p>"
        "<ul><li>one<li>two<ul><li>deep</li></ul></ul>"
        "<table><tr><th>User</th><th>Due</th></tr><tr><td>Ann</td><td>1&nbsp;May</td></tr></table>"
        "<hr><pre>a\n b</pre>"
        "<img src=x alt='Logo'><a href='mailto:h@b.example'>mail us</a><script>x()</script>"
        "<!-- no --></body></html>"
    )
    assert html_to_text(html) == (
        "Welcome\n\n"
        "Hello Ann, see the course [1], this [2] and again [1].\n\n"
        "  * one\n  * two\n\n    * deep\n\n"
        "User | Due\nAnn | 1 May\n\n"
        "-------------------------\n\n"
        "a\nb\n\n"
        "[Logo]mail us\n\n\n"
        "Links:\n------\n[1] /a?x=1&y=2\n[2] https://b.example/\n"
    )


@pytest.mark.parametrize(
    "password",
    ["1S$bN;ws6+", "-Sp8&qN4;X", "E9&Q41sXf;", "a<b", "<3", "x&y;z", "a&notX;b", "<", "&"],
)
def test_unescaped_passwords_survive(password: str) -> None:
    html = f"<p>username: ann</br>\npassword: {password}</br>\n(change it)</p>"
    assert html_to_text(html) == f"username: ann\npassword: {password}\n(change it)\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<p></p><br><div> </div>", ""),
        ("a<br>b<br><br>c<br><br><br>d", "a\nb\n\nc\n\nd\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("<p>a<p>b", "a\n\nb\n"),
        ("&lt;b&gt; &eacute; &#233; &#xe9; &amp;lt; &#0;", "<b> é é é &lt; \ufffd\n"),
        ("&unknown; &eacute", "&unknown; &eacute\n"),
        ("&#" + "9" * 5000 + ";", "&#" + "9" * 5000 + ";\n"),
        ("<a href='#top'>up</a> <a href='javascript:x()'>no</a> <a>bare</a>", "up no bare\n"),
        ("<a href='/x'>open", "open [1]\n\n\nLinks:\n------\n[1] /x\n"),
        ('<p title="a > b">x</p>', "x\n"),
        ('<p title="unclosed>x</p>', "x\n"),
        ("<!doctype html><?xml ?>a<!-- unclosed <p>b", "a\n"),
        ("a<script>if (a < b) '</p>'</script>b", "ab\n"),
        ("מזל 🎉 <i>Grüße</i>", "מזל 🎉 Grüße\n"),
    ],
)  # fmt: skip
def test_small_things(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_wrapping() -> None:
    assert html_to_text("aa bb cc dd", width=5) == "aa bb\ncc dd\n"
    assert html_to_text("aaaaaaaa bb", width=5) == "aaaaaaaa\nbb\n"
    assert html_to_text("aa bb cc dd", width=0) == "aa bb cc dd\n"


pieces = st.sampled_from(
    ["<", ">", "&", ";", '"', "'", "=", "/", "a", "b", " ", "\n", "\0", "é", "<p>", "</p>", "<br>",
     "<a href=", "</a>", "<li>", "<ul>", "</ul>", "<td>", "<tr>", "<pre>", "<!--", "-->",
     "<script>", "</script>", "&amp;", "&#10;", "<img alt='x'>", "<hr>"]
)  # fmt: skip


@given(st.lists(pieces).map("".join) | st.text())
def test_any_input_gives_tidy_lines(html: str) -> None:
    text = html_to_text(html)
    assert text == "" or text.endswith("\n")
    assert "\n\n\n\n" not in text
    assert all(line == line.rstrip() for line in text.split("\n"))


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=90), max_size=60), st.integers(1, 90))
def test_wrapping_keeps_every_word(words: list[str], width: int) -> None:
    text = html_to_text(" ".join(words), width)
    assert text.split() == words
    assert all(len(line) <= width or " " not in line for line in text.splitlines())


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<ul>", "<ul>x<li>y", "<td>x", "<a href='x'>", "<a href=x>y", "<!--", "<!", "<?", "<",
     "<a ", '<a "', "<a '\"", "<a \"<a '\"'", '<p x="', "<script ", "<script>", "</script",
     "<title>", "<pre>\n", "<br>", "&", "&a", "&#9", " href", '<img alt="', "x ", "\n"],
)  # fmt: skip
def test_hostile_input_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    html_to_text(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 10
