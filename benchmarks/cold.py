"""A function that was just started, with one message on standard input: see ``benchmarks.worker``.

Nothing is imported here that the function would not import.
"""

import json
import os
import sys
import time
from contextlib import redirect_stdout


class Context:
    """Lambda's, with all the time of the world."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds."""
        return 900_000


def peak() -> float:
    """Of this process since it was started, MB; ``ru_maxrss`` begins with what its parent had."""
    for line in open("/proc/self/status", encoding="utf-8"):  # noqa: SIM115, PTH123
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this needs Linux")


def main() -> None:
    """Import, make the clients, work on the message; prints what that took."""
    body = sys.stdin.read()
    started = time.perf_counter()
    from cloud_workers.aws import lambda_handler  # noqa: PLC0415 - it is what is measured

    imported = time.perf_counter()
    lambda_handler.aws_clients(int(os.environ["CONCURRENCY"])).ses()
    ready = time.perf_counter()
    before = peak()
    event = {"Records": [{"messageId": "1", "receiptHandle": "", "body": body}]}
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        assert not lambda_handler.handler(event, Context())["batchItemFailures"]
    times = {"import_ms": (imported - started) * 1000, "clients_ms": (ready - imported) * 1000}
    print(json.dumps({**times, "before": before, "after": peak()}))


if __name__ == "__main__":
    main()
