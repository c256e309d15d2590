"""What MLflow, and the libraries below it, raise, told in one way."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatekeeper.errors import RegistryError
from gatekeeper.registry.landing import disk_full
from gatekeeper.registry.redaction import in_one_line

_CREDENTIALS = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
)
_REACH = "See that the server runs and can be reached, then audit again."
_NO_SERVER = "See that the address is an MLflow server's, and that its version is 3.10 or later."
# MLflow puts what went wrong with single files into one text.
_STATUS_IN_TEXT = re.compile(r"\b(\d{3}) (?:Client|Server) Error")
_DISK_FULL = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
_GONE = "RESOURCE_DOES_NOT_EXIST"
# Classes of requests and SQLAlchemy, which are not imported for this.
_PASSING = ("Timeout", "ConnectionError", "ChunkedEncodingError", "OperationalError", "RetryError")


@contextmanager
def told(address: str, into: Path | None = None) -> Iterator[None]:
    """Turn whatever MLflow raises into one line about `address`.

    Raises:
        RegistryError: with what was said; `passing` where another try may help.
    """
    try:
        yield
    except RegistryError as error:
        if address in str(error):
            raise
        message = f"{address}: {error}"
        raise RegistryError(message, hint=error.hint, passing=error.passing) from None
    except Exception as error:  # MLflow raises its own tree, and that of whatever lies below
        if into is not None and _DISK_FULL in str(error):
            raise disk_full(into) from None
        raise _registry_error(error, address) from None


def _registry_error(error: Exception, address: str) -> RegistryError:
    said, status = in_one_line(error), _status(error)
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    if status in {401, 403}:
        return RegistryError(f"{address} may not be read: {said}", hint=_CREDENTIALS)
    if status == 404 and getattr(error, "error_code", _GONE) == "ENDPOINT_NOT_FOUND":
        return RegistryError(f"{address} does not know the question: {said}", hint=_NO_SERVER)
    if status == 404:
        return RegistryError(f"{address} was deleted: {said}")
    # 501 says that it never will.
    if (
        status in {408, 429}
        or (status >= 500 and status != 501)
        or any(k in kinds for k in _PASSING)
    ):
        return RegistryError(f"{address} does not answer: {said}", hint=_REACH, passing=True)
    return RegistryError(f"{address} cannot be used: {said}")


def _status(error: Exception) -> int:
    """Give the HTTP status that an error is about; 0 where it is about none."""
    if found := _STATUS_IN_TEXT.search(str(error)):
        return int(found[1])
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    ask = getattr(error, "get_http_status_code", None)
    return int(ask()) if ask else 0
