"""A real S3 server on loopback (moto's), and a proxy in front of it that answers 503, or nothing for a while."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUCKET = "lab-runs"
SECRET = "planted-secret-0x61"
KEY_ID = "planted-key-id-0x62"


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """Run moto's S3 server with one bucket, and yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "s3-server.log").open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(folder)})
        try:
            make_bucket(port)
            yield port
        finally:
            server.kill()
            server.wait()


def make_bucket(port: int) -> None:
    """Wait for the server, and make the bucket."""
    for _ in range(240):
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=10).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError("the S3 server did not start within a minute")


class Faults:
    """What a proxy does to the requests that come through it; may be changed while it runs."""

    def __init__(self, *, seed: int = 0) -> None:
        self.share_of_503 = 0.0
        self.away = False  # closes each connection without an answer
        self.answer: tuple[int, str] | None = None  # status and code for everything
        self.ignores_conditions = False
        self.refuses_conditions = False  # with 501, as stores do that know they have none
        self.requests = self.refused = 0
        self.asked: list[tuple[str, str]] = []  # method and path of each request
        self.random = random.Random(seed)


def _is_condition(header: str) -> bool:
    return header.lower().startswith("if-")


def _length_of(content: bytes, headers: list[tuple[str, str]] | None) -> str:
    """The length of the content, or the one that the headers of an answer without content name."""
    if headers is None:
        return str(len(content))
    return {name.lower(): value for name, value in headers}.get("content-length", "0")


def _handler_of(port: int, faults: Faults) -> type[BaseHTTPRequestHandler]:
    """Return what passes a request on to the server, or fails as the faults say."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Print nothing."""

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            faults.requests += 1
            faults.asked.append((self.command, self.path.partition("?")[0]))
            if faults.away:
                faults.refused += 1
                self.close_connection = True
                return
            if faults.answer is not None:
                self._answer(faults.answer[0], f"<Error><Code>{faults.answer[1]}</Code></Error>".encode())
                return
            if faults.random.random() < faults.share_of_503:
                faults.refused += 1
                # Half of them after the server has done what was asked: an answer that is lost.
                if faults.random.random() < 0.5:
                    self._ask(body)
                self._answer(503, b"<Error><Code>SlowDown</Code></Error>")
                return
            if faults.refuses_conditions and any(map(_is_condition, self.headers)):
                self._answer(501, b"<Error><Code>NotImplemented</Code></Error>")
                return
            status, headers, content = self._ask(body)
            self._answer(status, content, headers)

        def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = dict(self.headers.items())
            if faults.ignores_conditions:
                headers = {name: value for name, value in headers.items() if not _is_condition(name)}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, answer.getheaders(), content

        def _answer(self, status: int, content: bytes, headers: list[tuple[str, str]] | None = None) -> None:
            self.send_response(status)
            for name, value in headers or []:
                if name.lower() not in _OF_THE_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", _length_of(content, headers if self.command == "HEAD" else None))
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(ConnectionError):  # the client was killed
                    self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    return Handler


@contextlib.contextmanager
def proxy_of(port: int, faults: Faults) -> Iterator[int]:
    """Run a proxy in front of a server in this process, and yield its port."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(port, faults))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


_OF_THE_CONNECTION = ("content-length", "transfer-encoding", "connection", "server", "date")


def environment(port: int, cache: Path) -> dict[str, str]:
    """What a command needs to find the server, with its cache in a folder of the test."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "SHAREDRIS_CACHE": str(cache),
    }
