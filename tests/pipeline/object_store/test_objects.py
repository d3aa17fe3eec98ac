"""Faults of a store in one line, and stores that keep no conditions."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.object_store import objects
from pipeline.object_store.faults import ConflictError, StoreAwayError, StoreError
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import Objects

URL = "s3://bucket/runs"
PAGE = (
    " in 13ms - Server returned non-2xx status code: {}: <Error><Code>{}</Code>"
    "<AWSAccessKeyId>AKIAPLANTED</AWSAccessKeyId></Error>\n\nDebug source:\nGeneric {{ secret }}"
)
METADATA = "Error performing PUT http://169.254.169.254/latest/api/token in 5s - HTTP error"
FAULTS = {
    "no bucket": (PAGE.format("404 Not Found", "NoSuchBucket"), "there is no such bucket", False),
    "denied": (PAGE.format("403 Forbidden", "AccessDenied"), "the store refuses: 403 AccessDenied", False),
    "key": (PAGE.format("403 Forbidden", "InvalidAccessKeyId"), "the store refuses: 403 InvalidAccessKeyId", False),
    "clock": (PAGE.format("403 Forbidden", "RequestTimeTooSkewed"), "the clock of this machine differs", False),
    "busy": (PAGE.format("503 Service Unavailable", "SlowDown"), "answers 503 SlowDown", True),
    "away": (" HTTP error: error sending request\n\nDebug source", "does not answer", True),
    "no key": (
        METADATA,
        "no credentials",
        False,
    ),
    "azure": ("Generic MicrosoftAzure error: Account must be specified", "no credentials", False),
    "plain": ("Operation not implemented", "no conditional writes", False),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_without_what_the_library_tells_of_the_request(name: str) -> None:
    exceptions = pytest.importorskip("obstore.exceptions")
    text, expected, is_passing = FAULTS[name]

    def request() -> None:
        raise exceptions.GenericError(text)

    with pytest.raises(StoreError) as refused:
        Objects(URL, None, patience_seconds=0.0)._repeat(request)
    assert expected in refused.value.message
    assert isinstance(refused.value, StoreAwayError) == is_passing
    assert refused.value.remedy
    assert "\n" not in str(refused.value)
    assert "AKIAPLANTED" not in str(refused.value)
    assert "Debug" not in str(refused.value)


def test_a_passing_fault_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_PAUSE_SECONDS", 0.0)
    answers: list[Any] = [StoreAwayError("answers 503"), StoreAwayError("answers 503"), "content"]

    def request() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert Objects(URL, None, patience_seconds=60.0)._repeat(request) == "content"


def test_conditions_hold(host: Callable[[str], Mirror]) -> None:
    kept = host("one").objects
    first = kept.put("a", b"1", replaces=None)
    with pytest.raises(ConflictError):
        kept.put("a", b"2", replaces=None)
    second = kept.put("a", b"2", replaces=first)
    with pytest.raises(ConflictError):
        kept.put("a", b"3", replaces=first)
    assert second != first
    assert kept.probe("state/run") > 0
    assert [found.key for found in kept.below("")] == ["a"], "the probe leaves nothing"


def test_a_store_that_ignores_conditions_is_refused_and_left_as_it_was(
    host: Callable[[str], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    put, kept = obstore.put, host("one").objects

    def without_condition(*args: Any, mode: Any = None, **options: Any) -> Any:
        return put(*args, **options)

    monkeypatch.setattr(obstore, "put", without_condition)
    with pytest.raises(StoreError, match="ignores the condition of a write"):
        kept.probe("state/run")
    assert kept.below("") == []


def test_the_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("obstore"):
            raise ImportError(name)
        return real(name, *args, **options)

    objects._obstore.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreError, match=r"need the package obstore\. .*pip install '.\[store\]"):
        objects.open_objects(URL)
    objects._obstore.cache_clear()


@pytest.mark.parametrize("setting", [None, "true"])
def test_a_request_is_hashed_for_its_signature_unless_that_is_left_out(
    setting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="the extra `store` is not installed")
    signed: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Print nothing."""

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            signed.append(self.headers["x-amz-content-sha256"])
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "x")
        if setting is not None:
            monkeypatch.setenv("AWS_UNSIGNED_PAYLOAD", setting)
        objects.open_objects(URL).put("key", b"1", replaces=None)
        server.shutdown()
    assert signed == [objects.sha256_of(b"1") if setting is None else "UNSIGNED-PAYLOAD"]
