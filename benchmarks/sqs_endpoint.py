"""A minimal SQS: takes every batch of messages and remembers nothing but their number.

``python -m benchmarks.sqs_endpoint`` prints its port, and at its end how many messages came.
"""

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_taken: list[int] = []


class Handler(BaseHTTPRequestHandler):
    """Two actions of SQS's JSON protocol."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["X-Amz-Target"].endswith("SendMessageBatch"):
            entries = json.loads(body)["Entries"]
            _taken.append(len(entries))
            answer = {
                "Successful": [
                    {"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""}
                    for entry in entries
                ],
                "Failed": [],
            }
        else:
            answer = {"Attributes": {"MaximumMessageSize": "1048576"}}  # type: ignore[dict-item]
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        pass


def main() -> None:
    """Serve until SIGTERM."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
    print(json.dumps({"messages": sum(_taken)}), flush=True)
    sys.exit()


if __name__ == "__main__":
    main()
