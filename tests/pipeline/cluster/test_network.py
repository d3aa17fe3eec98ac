"""An address without a Ray head is one line within 10 seconds, whatever listens there."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.cluster.network import interface_of, require_ray_head
from sharedris.errors import InputError


@pytest.fixture
def web_server() -> Iterator[str]:
    """A real HTTP/1.1 server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A port that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closing_server() -> Iterator[str]:
    """A port that accepts and closes at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def close() -> None:
            connection, _ = listener.accept()
            connection.close()

        threading.Thread(target=close, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def problem_of(address: str) -> str:
    began = time.monotonic()
    with pytest.raises(InputError) as refused:
        require_ray_head(address)
    assert time.monotonic() - began < 10
    assert address in refused.value.message
    assert refused.value.remedy
    return refused.value.message.partition(f"{address}: ")[2]


def test_another_program(web_server: str) -> None:
    assert problem_of(web_server) == "another program listens there"


def test_a_program_that_closes(closing_server: str) -> None:
    assert problem_of(closing_server) in ("another program listens there", "Connection reset by peer")


def test_a_program_that_does_not_answer(silent_server: str) -> None:
    assert problem_of(silent_server) == "the program that listens there does not answer"


def test_nothing_listens() -> None:
    assert problem_of("127.0.0.1:1") == "Connection refused"
    assert problem_of("127.0.0.1:99999")


def test_a_host_that_does_not_exist() -> None:
    assert problem_of("no-such-host.invalid:6379")


def test_ray_client_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="address of Ray Client.*ray job submit"):
        require_ray_head("ray://127.0.0.1:10001")


def test_the_job_server_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"address of the job server.*ray job submit -- COMMAND"):
        require_ray_head("http://127.0.0.1:8265")


def test_words_are_left_to_ray() -> None:
    require_ray_head("auto")


def test_the_interface_of_an_address_is_found() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None
