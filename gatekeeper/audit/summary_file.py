"""`audit.json`: the sum of an audit as a file, and back."""

from __future__ import annotations

import json

from pydantic import TypeAdapter, ValidationError

from gatekeeper.audit.summary import SCHEMA_VERSION, Audit
from gatekeeper.errors import UsageError
from gatekeeper.records import to_dict

_HINT = "Give an audit.json that gatekeeper wrote."


def write_audit(audit: Audit) -> str:
    """Give the text of `audit.json`: keys in the order of the records, plain ASCII."""
    drawn = json.dumps(to_dict(audit), indent=1, allow_nan=False)
    # The one control sign that JSON lets stand as it is.
    return drawn.replace("\x7f", "\\u007f") + "\n"


def read_audit(text: str, where: str) -> Audit:
    """Read an audit back; no type is guessed, nothing that is missing is filled in.

    Raises:
        UsageError: no JSON, or not an audit of this schema version; `where` is named.
    """
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
            message = f"{where} is not an audit of schema version {SCHEMA_VERSION}"
            raise UsageError(message, hint=_HINT)
        return TypeAdapter(Audit).validate_json(text, strict=True)
    except (ValueError, RecursionError) as error:
        message = f"{where} is not an audit: {_first(error)}"
        raise UsageError(message, hint=_HINT) from None


def _first(error: Exception) -> str:
    """Say on one line what is wrong first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
