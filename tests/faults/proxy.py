"""Stands before MariaDB and cuts a connection around a COMMIT: before it arrives, before its answer
leaves, or right after the answer."""

import random
import socket
import threading
from collections import Counter
from contextlib import suppress
from enum import Enum
from typing import Self

COMMIT = b"\x07\x00\x00\x00\x03COMMIT"
"""COM_QUERY "COMMIT", as the client library's commit() sends it."""

TRANSACTION_BYTES = 900
"""A transaction that said less wrote nothing of mails: reads, and the lease's renewal."""


class Cut(Enum):
    """Where a connection ends."""

    BEFORE = "the server has not got the COMMIT"
    UNANSWERED = "the server has committed, its answer is lost"
    AFTER = "the answer has arrived"


class Proxy:
    """A way to the server at ``port``; every ``often``-th COMMIT on average meets ``cut``.

    cuts: how many there were. limit: no more than so many are made.
    """

    def __init__(self, upstream: int, cut: Cut, *, often: int, limit: int, seed: int = 1) -> None:
        self._upstream, self._cut, self._often = upstream, cut, often
        self.limit = limit
        self.cuts: Counter[Cut] = Counter()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(self, client, server)
            answers = threading.Thread(target=pair.answers, daemon=True)
            answers.start()
            pair.requests()
            answers.join()

    def draw(self, said: int) -> Cut | None:
        """What this COMMIT meets, after a transaction of so many bytes."""
        with self._lock:
            due = said >= TRANSACTION_BYTES and self.cuts.total() < self.limit
            if not due or self._chance.randrange(self._often):
                return None
            self.cuts[self._cut] += 1
            return self._cut


class _Pair:
    """One connection and its other half."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._meets: Cut | None = None

    def requests(self) -> None:
        """Pass on what the client says."""
        said = 0
        with suppress(OSError):
            while data := self._client.recv(65_536):
                if data == COMMIT:
                    self._meets = self._proxy.draw(said)
                    said = 0
                    if self._meets is Cut.BEFORE:
                        break
                said += len(data)
                self._server.sendall(data)
        self._end()

    def answers(self) -> None:
        """Pass on what the server answers."""
        with suppress(OSError):
            while data := self._server.recv(65_536):
                if self._meets is Cut.UNANSWERED:
                    break
                self._client.sendall(data)
                if self._meets is Cut.AFTER:
                    break
        self._end()

    def _end(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
