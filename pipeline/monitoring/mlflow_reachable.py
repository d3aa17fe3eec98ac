"""Whether MLflow's store answers and can be written, asked with short timeouts: MLflow itself retries for minutes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import sqlalchemy

_SECONDS = 4
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SHORT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@contextlib.contextmanager
def short_timeouts() -> Iterator[None]:
    """Let requests to a tracking server fail within seconds while the block lasts.

    Only for the first requests of a command: later ones may upload large files, and a server may be away for a while.
    """
    before = {name: os.environ.get(name) for name in _SHORT}
    os.environ.update(_SHORT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def require_database(uri: str) -> None:
    """Connect to the database of this address once; do nothing for other stores.

    Raises:
        Exception: what the database's library raises; `one_line_errors` turns it into one line.
    """
    if urlsplit(uri).scheme.partition("+")[0] not in _DATABASES:
        return
    url = sqlalchemy.make_url(uri)
    is_sqlite = url.get_backend_name() == "sqlite"
    timeout = {"timeout": _SECONDS} if is_sqlite else {"connect_timeout": _SECONDS}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=timeout)
    with engine.connect() as connection:
        if is_sqlite:  # a lock for writing, released at once: a read-only file would be noticed only at the first write
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.rollback()
