"""The text part of an HTML mail. Pure, and linear in the size of any input.

Reads like Moodle's html_to_text (lib/html2text): ``text [1]`` for a link and a list of the links
at the end, wrapped lines, an empty line between paragraphs. Differences, all for the reader: bold
text and headings keep their case (a password may be in them), a ``<`` that opens no tag is text
(passwords stand unescaped in IOMAD's bodies), ``</br>`` breaks the line as browsers do, a table row
is one line.
"""

import html
import re
from functools import cache
from html.entities import html5

_TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(script|style|title)\b[^<>]*>.*?(?:</\1\b[^<>]*>?|\Z)"
    r"|<[!?][^<>]*>"
    # Nothing looks beyond the next "<", even where quotes do not match: so it stays linear.
    r"""|<(/?)([a-z][a-z0-9:-]*+)(?![^\s/>])((?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+|[^<>]*+)>""",
    re.IGNORECASE | re.DOTALL,
)
_HREF = re.compile(r"""(?<![\w-])href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_ALT = re.compile(r"""(?<![\w-])alt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#(?:\d{1,7}|x[0-9a-f]{1,6})|([a-z][a-z0-9]{1,31}));", re.IGNORECASE)
_NOT_LISTED = re.compile(r"(?:javascript|mailto|data):|#|\Z", re.IGNORECASE)

# fmt: off
_PARAGRAPHS = {
    "blockquote", "dl", "fieldset", "form", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre",
    "table", "ul",
}
_LINES = {
    "address", "article", "aside", "br", "caption", "center", "dd", "div", "dt", "figcaption",
    "figure", "footer", "header", "hr", "li", "main", "nav", "option", "section", "tbody", "tfoot",
    "thead", "tr",
}
# fmt: on
_RULE = "-" * 25
_DEEPEST = 4


def html_to_text(source: str, width: int = 75) -> str:
    """The words of an HTML body as lines of at most ``width`` characters (0: never wrapped).

    Words longer than that, such as URLs, stay whole. Takes any input; ends with a line feed
    unless there is no text.
    """
    page = _Page(width)
    at = 0
    for token in _TOKEN.finditer(source):
        page.text(source[at : token.start()])
        at = token.end()
        if token[3]:
            page.tag(token[3].lower(), bool(token[2]), token[4])
    page.text(source[at:])
    return page.finish()


class _Page:
    """The lines so far, and what is open: the current line, list, link and preformatted text."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []
        self.cells: list[str] = []
        self.pieces: list[str] = []
        self.blank = False
        self.bullet = ""
        self.depth = 0
        self.preformatted = 0
        self.link = ""
        self.links: dict[str, int] = {}

    def text(self, text: str) -> None:
        if self.preformatted:
            *whole, text = text.split("\n")
            for line in whole:
                self.pieces.append(line)
                self.end_line()
        if text:
            self.pieces.append(text)

    def tag(self, name: str, closing: bool, attributes: str) -> None:
        if name in _PARAGRAPHS:
            self.end_line()
            self.blank = True
        elif name in _LINES:
            written = self.end_line()
            self.blank = self.blank or (name == "br" and not written)
        step = -1 if closing else 1
        match name:
            case "a":
                self.end_link()
                self.link = "" if closing else _url(attributes)
            case "td" | "th":
                self.cells.append("".join(self.pieces))
                self.pieces.clear()
            case "li":
                self.bullet = "" if closing else "  " * min(self.depth, _DEEPEST) + "* "
            case "ul" | "ol":
                self.depth = max(0, self.depth + step)
            case "pre":
                self.preformatted = max(0, self.preformatted + step)
            case "hr":
                self.pieces.append(_RULE)
                self.end_line()
            case "img":
                found = _ALT.search(attributes)
                alt = (found[1] or found[2] or "").strip() if found else ""
                self.pieces.append(f"[{alt}]" if alt else "")

    def end_link(self) -> None:
        if self.link:
            number = self.links.setdefault(self.link, len(self.links) + 1)
            self.pieces.append(f" [{number}]")
            self.link = ""

    def end_line(self) -> bool:
        """Whether there was anything on the line."""
        if not (self.pieces or self.cells):
            return False
        cells = (_plain(cell) for cell in (*self.cells, "".join(self.pieces)))
        line = " | ".join(filter(None, cells))
        self.cells.clear()
        self.pieces.clear()
        if line:
            if self.blank and self.lines:
                self.lines.append("")
            self.blank = False
            self.lines += _wrapped(self.bullet + line, self.width)
            self.bullet = ""
        return bool(line)

    def finish(self) -> str:
        self.end_link()
        self.end_line()
        if self.links:
            self.lines += ["", "", "Links:", "------"]
            self.lines += [f"[{number}] {url}" for url, number in self.links.items()]
        return "\n".join([*self.lines, ""]) if self.lines else ""


def _plain(source: str) -> str:
    """Entities decoded, then every run of white space one space."""
    text = _unescaped(source)
    if text.isprintable() and "  " not in text:  # one space is the only white space that prints
        return text.strip(" ")
    return " ".join(text.split())


def _unescaped(source: str) -> str:
    if "&" not in source:
        return source
    # html.unescape alone would also turn the start of an unknown name: "&notX;" into "¬X;".
    return _ENTITY.sub(
        lambda found: html5.get(f"{found[1]};", found[0]) if found[1] else html.unescape(found[0]),
        source,
    )


def _url(attributes: str) -> str:
    """Where a link leads; '' if that is not for the list."""
    found = _HREF.search(attributes)
    url = _unescaped(found[1] or found[2] or found[3] or "") if found else ""
    url = "".join(url.split())
    return "" if _NOT_LISTED.match(url) else url


def _wrapped(line: str, width: int) -> list[str]:
    if not 0 < width < len(line):
        return [line]
    return _lines_of(width).findall(line)


@cache
def _lines_of(width: int) -> re.Pattern[str]:
    """A line up to its last space that fits, or a word that is longer alone."""
    return re.compile(rf"(.{{1,{width}}}|[^ ]+)(?: |\Z)", re.DOTALL)
