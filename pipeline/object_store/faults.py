"""The faults of a store, each in one line: what the library says holds pages of text and the request."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from sharedris.errors import InputError

_METADATA_SERVICE = ("169.254.169.254", "169.254.170.2", "metadata.google", "MissingAccount", "Account must be")


class StoreError(InputError):
    """The store refuses what is asked; the message is one line."""


class StoreAwayError(StoreError):
    """The store does not answer, or answers that it cannot now: the same request may succeed later."""


class NoConditionsError(StoreError):
    """The store has no conditional writes, so that it cannot hold the lock of a driver."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"{url}: the store {why}",
            "Use a store that has them, set --runs to a folder that all nodes mount, or join a Ray cluster "
            "(RAY_ADDRESS), where an actor locks runs against its other drivers",
        )


class DamagedObjectError(StoreError):
    """The content of an object is not what it was put with."""


class ConflictError(Exception):
    """The condition of a write does not hold: another writer was here."""


@contextlib.contextmanager
def in_one_line(url: str) -> Iterator[None]:
    """Turn the library's errors, which hold pages of text and the request, into one line."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise ConflictError(url) from None
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise _no_bucket(url) from None
        raise
    except exceptions.BaseError as error:
        raise _in_words(url, str(error)) from None


def _no_bucket(url: str) -> StoreError:
    return StoreError(f"{url}: there is no such bucket", "Check the name and AWS_ENDPOINT_URL, or make the bucket")


_FAULTS = (
    ("NoSuchBucket", _no_bucket),
    (
        "RequestTimeTooSkewed",
        lambda url: StoreError(
            f"{url}: the clock of this machine differs too much from the store's", "Set the clock (timedatectl)"
        ),
    ),
    ("not implemented", lambda url: NoConditionsError(url, "has no conditional writes, which lock runs")),
    ("status code: 501", lambda url: NoConditionsError(url, "has no conditional writes, which lock runs")),
)


def _in_words(url: str, text: str) -> StoreError:
    """Return the fault in one line: the code that the store has sent, and none of the rest."""
    head = text.split("Debug source", maxsplit=1)[0]
    for sign, describe in _FAULTS:
        if sign in head:
            return describe(url)
    if any(sign in head for sign in _METADATA_SERVICE):
        return StoreError(
            f"{url}: no credentials were found",
            "Set those of the store in the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, AZURE_...)",
        )
    status = re.search(r"status code: (\d{3})", head)
    code = re.search(r"<Code>(\w+)</Code>", head)
    if status is None:
        kind = "Unable to recognise" in head or "Config" in head
        if kind:
            return StoreError(f"{url} cannot be used: {_first_words(head)}", "Write s3://BUCKET/PREFIX")
        return StoreAwayError(f"{url} does not answer", "Check AWS_ENDPOINT_URL and the network; nothing is lost")
    answer = f"{status[1]} {code[1]}" if code else status[1]
    if status[1].startswith("5") or status[1] == "429":
        return StoreAwayError(f"{url} answers {answer}", "The same command goes on when the store is back")
    return StoreError(f"{url}: the store refuses: {answer}", "Check the credentials and their rights on the prefix")


def _first_words(text: str) -> str:
    return " ".join(text.split())[:120]
