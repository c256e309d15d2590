"""How a bucket is opened, and what its many libraries raise, told in one way."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.registry.redaction import in_one_line, redacted

_CREDENTIALS = "Give credentials that may list and read it, as AWS_PROFILE or AWS_ACCESS_KEY_ID."
_REACH = "See that it runs and can be reached (AWS_ENDPOINT_URL for stores of your own)."
# Names of classes of botocore, aiohttp and fsspec, which are not imported for this.
_UNKNOWN_USER = ("CredentialsError", "CredentialRetrievalError", "TokenRetrievalError")
_UNREACHED = ("Timeout", "ConnectionError", "ConnectorError", "Disconnected", "ConnectionClosed",
              "HTTPClientError", "IncompleteRead", "PayloadError", "FileExpired")  # fmt: skip
_PASSING = frozenset(
    {errno.EBUSY, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET}
    | {getattr(errno, "EREMOTEIO", errno.EIO)}
)
_S3_SETTINGS = {
    # A dead store is told within half a minute: s3fs and botocore each try twice to connect.
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 1}},
}
_S3_ROUNDS = 2


def opened(address: str) -> tuple[Any, str]:
    """Give fsspec's file system for `address`, and the path of the registry in it.

    Raises:
        UsageError: nothing here can read such an address.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise _lacking("s3", "fsspec is not installed") from None
    scheme = address.partition("://")[0].lower()
    if "::" in address:
        message = f"{redacted(address)} chains two addresses"
        raise UsageError(message, hint="Name the bucket alone.")
    settings = _S3_SETTINGS if scheme in {"s3", "s3a"} else {}
    try:
        store, root = url_to_fs(
            address, use_listings_cache=False, skip_instance_cache=True, **settings
        )
    except ImportError as error:
        raise _lacking(scheme, in_one_line(error)) from None
    except OSError as error:
        # Some of fsspec's stores, such as ftp://, ask before they are asked.
        message = f"{redacted(address)} does not answer: {in_one_line(error)}"
        raise RegistryError(message, hint=_REACH, passing=True) from None
    except (ValueError, TypeError) as error:
        message = f"{redacted(address)} is no registry: {in_one_line(error)}"
        raise UsageError(
            message, hint="Give a folder, mlflow:URI, or s3://BUCKET/PREFIX."
        ) from None
    if settings:
        store.retries = _S3_ROUNDS
    return store, str(root).rstrip("/")


@contextmanager
def told(address: str) -> Iterator[None]:
    """Turn whatever the libraries below raise into one line.

    Raises:
        RegistryError: with what was said; `passing` where another try may help.
    """
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:  # there is a library for each store, and each has its own tree
        raise _registry_error(error, address) from None


def _registry_error(error: Exception, address: str) -> RegistryError:
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    said = in_one_line(error)
    if isinstance(error, FileNotFoundError):
        return RegistryError(f"{address} was deleted, or never was there")
    if isinstance(error, PermissionError) or any(name in kinds for name in _UNKNOWN_USER):
        return RegistryError(f"{address} may not be read: {said}", hint=_CREDENTIALS)
    code = error.errno if isinstance(error, OSError) else None
    if code in _PASSING or any(name in kinds for name in _UNREACHED):
        return RegistryError(f"{address} does not answer: {said}", hint=_REACH, passing=True)
    return RegistryError(f"{address} cannot be read: {type(error).__name__}: {said}")


def _lacking(scheme: str, said: str) -> UsageError:
    if scheme in {"s3", "s3a"}:
        hint = "Install it with: pip install 'gatekeeper-models[s3]'"
    else:
        hint = f"Install what fsspec names for {scheme}://, then try again."
    return UsageError(f"{scheme}:// cannot be read here: {said}", hint=hint)
