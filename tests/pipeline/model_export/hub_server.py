"""A stand-in for the Hugging Face Hub on this machine: create a repository, commit files, fetch them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the server holds and was asked.

    Attributes:
        files: of the one repository.
        created: what was asked of the repository: its name and whether it is private.
        fetched: names of the files that were downloaded.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: dict[str, Any] = {}
        self.fetched: list[str] = []
        self.address = ""


class _Answers(BaseHTTPRequestHandler):
    """Reads bodies and sends contents, quietly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, values: Any) -> None:
        self._send(json.dumps(values).encode(), Content_Type="application/json")


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Answers):
        def do_POST(self) -> None:
            body = self._body()
            if self.path == "/api/repos/create":
                hub.created = json.loads(body)
                self._json({"url": f"{hub.address}/user/name", "name": "user/name"})
            elif self.path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                asked = json.loads(body)["files"]
                modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]
                self._json({"files": modes})
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._json({"commitUrl": f"{hub.address}/user/name/commit/{SHA}", "commitOid": SHA})
            else:
                self._send(b"", 404)

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/user/name/tree/"):
                self._json(
                    [{"type": "file", "path": name, "size": len(data), "oid": SHA} for name, data in hub.files.items()]
                )
            elif self.path.startswith("/api/models/user/name"):
                siblings = [{"rfilename": name} for name in hub.files]
                self._json(
                    {"id": "user/name", "sha": SHA, "siblings": siblings, "private": True, "tags": [], "downloads": 0}
                )
            elif self.path.startswith("/user/name/resolve/") and self.path.split("/")[-1] in hub.files:
                name = self.path.split("/")[-1]
                content = hub.files[name]
                if self.command == "GET":
                    hub.fetched.append(name)
                self._send(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=SHA)
            else:
                self._send(b"", 404, X_Error_Code="EntryNotFound")

        do_HEAD = do_GET

    return Handler


@contextlib.contextmanager
def local_hub() -> Iterator[Hub]:
    """Serve an empty Hub for the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
