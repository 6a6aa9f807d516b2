"""Real PHP for tests: it is the judge of what we read and write in its place."""

import base64
import json
import subprocess
from types import TracebackType
from typing import Any, Self

LOOP = r"""
while (($line = fgets(STDIN)) !== false) {
    $in = json_decode(base64_decode($line), true);
    echo base64_encode(answer($in)), "\n";
}
"""


class Php:
    """One php process that answers many questions; ``code`` defines ``answer($in): string``."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            ["php", "-d", "display_errors=stderr", "-r", code + LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def ask(self, question: Any) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(base64.b64encode(json.dumps(question).encode()) + b"\n")
        self._process.stdin.flush()
        return base64.b64decode(self._process.stdout.readline())


def run(code: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """What the code prints."""
    command = ["php", "-d", "display_errors=stderr", "-r", code, "--", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout
