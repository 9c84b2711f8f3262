"""An S3 over HTTP on loopback for tests (moto's server), a storage that refuses, and a line to it that breaks.

The fixture `s3` of `tests/conftest.py` is one server for the whole run. Ray's workers reach it too: credentials are in
the environment, the endpoint is in the URI.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

HOST = "127.0.0.1"
BUCKET = "tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
#: What a server says before it takes a body: no answer yet.
_GO_ON = b"HTTP/1.1 100 "
_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class S3:
    """A running server.

    Attributes:
        port: on loopback.
        denied: buckets that answer everything with 403.
        unconditional: whether it ignores conditions of writes, as old servers do.
        busy: how many of the next requests are answered with 503 before they do anything.
        requests: method and path of every request so far.
    """

    port: int
    denied: set[str] = field(default_factory=set)
    unconditional: bool = False
    busy: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def uri(self, name: str = "runs", *, bucket: str = BUCKET, port: int | None = None) -> str:
        """A place of its own, empty: different at every call.

        Args:
            name: the last part of the path.
            bucket: which; only `tests` is there from the start.
            port: another one, such as that of a `Line`.
        """
        return self.at(f"{bucket}/{uuid.uuid4().hex[:12]}/{name}", port=port)

    def at(self, path: str, *, port: int | None = None) -> str:
        """The URI of a path that starts with its bucket."""
        return f"s3://{path}?scheme=http&endpoint_override={HOST}:{port or self.port}&region=us-east-1"

    @property
    def client(self) -> Any:
        """A client of boto3, for a look from outside."""
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")

    @staticmethod
    def plant(key: str, data: bytes = b"") -> None:
        """Put an object straight into the bucket `tests`, also under a name that no client would send."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, key, data)

    def answer(self, environment: dict[str, Any]) -> tuple[str, str, str] | None:
        """Status, code and message, where a request is not let through."""
        path = environment["PATH_INFO"]
        with self._lock:
            self.requests.append((environment["REQUEST_METHOD"], path))
            if environment["REQUEST_METHOD"] == "PUT" and not environment.get("CONTENT_LENGTH"):
                # What is left of a request whose headers were cut; moto would make an empty object of it.
                return "411 Length Required", "MissingContentLength", "You must provide the Content-Length header."
            if path.split("/")[1] in self.denied:
                return "403 Forbidden", "AccessDenied", "Access Denied"
            if self.busy:
                self.busy -= 1
                return "503 Slow Down", "SlowDown", "Please reduce your request rate."
        return None


@contextmanager
def serving() -> Iterator[S3]:
    """A server with the bucket `tests`, and the environment that its clients need."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    inner = DomainDispatcherApplication(create_backend_app)
    shown: list[S3] = []

    def app(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = shown[0].answer(environment)
        if shown[0].unconditional:
            environment.pop("HTTP_IF_NONE_MATCH", None)
        if refused is None:
            return inner(environment, start_response)
        # Read to its end, so that the client sees the answer and no broken line.
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        status, code, message = refused
        body = b"" if environment["REQUEST_METHOD"] == "HEAD" else _ERROR.format(code, message).encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server(HOST, 0, app, threaded=True, request_handler=MotoRequestHandler)
    shown.append(S3(server.server_port))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            shown[0].client.create_bucket(Bucket=BUCKET)
            yield shown[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Line:
    """A TCP line to a port that breaks when it is told to.

    Attributes:
        port: where it listens, on loopback.
        up, down: how many more bytes pass towards the server, and towards the client, before the line is cut and those
            who use it see a reset. None lets everything through. A cut falls on one connection; the next one passes
            unless `cuts` is more than 1. `down=0` loses the answer to a request that the server has served.
        cuts: how many connections are still to be cut.
        done: how many were.
        dead: nothing passes at all, and nobody is told.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.up: int | None = None
        self.down: int | None = None
        self.cuts = 0
        self.done = 0
        self.dead = False
        self._budget: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, up: int | None = None, down: int | None = None, times: int = 1) -> None:
        """Cut the next `times` connections that have carried so many more bytes in a direction."""
        with self._lock:
            self.up, self.down, self.cuts = up, down, times
            self._refill()

    def close(self) -> None:
        """Break every connection, and take no more."""
        self._listener.close()
        for one in list(self._open):
            _reset(one)

    def _refill(self) -> None:
        self._budget = {name: value for name, value in (("up", self.up), ("down", self.down)) if value is not None}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((HOST, self.target))
            self._open |= {client, server}
            for source, sink, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._carry, args=(source, sink, way), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        # The line breaks with an error of its own sockets: that is what it is for.
        with suppress(OSError):
            while data := source.recv(65536):
                if self.dead:
                    continue
                passes = len(data) if data.startswith(_GO_ON) else self._passes(way, len(data))
                sink.sendall(data[:passes])
                if passes < len(data):
                    _reset(source)
                    _reset(sink)
                    return
            sink.shutdown(socket.SHUT_WR)

    def _passes(self, way: str, size: int) -> int:
        with self._lock:
            left = self._budget.get(way)
            if not self.cuts or left is None:
                return size
            if size <= left:
                self._budget[way] = left - size
                return size
            self.cuts -= 1
            self.done += 1
            self._refill()
            return left


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line to a port of loopback, closed at the end."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


def _reset(one: socket.socket) -> None:
    """Close so that the other side sees a reset rather than an end."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    one.close()
