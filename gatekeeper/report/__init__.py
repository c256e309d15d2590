"""Reports: each format is a pure function of the record, one file a format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from gatekeeper.errors import UsageError
from gatekeeper.records import SCHEMA_VERSION, GateRecord, to_dict
from gatekeeper.report.comparison import compare
from gatekeeper.report.html import html
from gatekeeper.report.junit import junit
from gatekeeper.report.markdown import markdown
from gatekeeper.report.sarif import sarif
from gatekeeper.report.schema import from_dict, json_schema
from gatekeeper.report.text import text


def as_json(record: GateRecord) -> str:
    """Write `record.json`: keys in the order of the records, no NaN, nothing unprintable."""
    drawn = json.dumps(to_dict(record), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if drawn.isascii():
        return drawn
    # A terminal obeys some control characters that JSON would let stand as they are.
    return "".join(
        sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in drawn
    )


_FORMATS: dict[str, Callable[[GateRecord], str]] = {
    "text": text,
    "json": as_json,
    "html": html,
    "sarif": sarif,
    "junit": junit,
    "markdown": markdown,
}
FORMATS = tuple(_FORMATS)


def render(record: GateRecord, form: str) -> str:
    """Draw `record` in one of FORMATS, from nothing but what `record.json` holds."""
    return render_all(record, [form])[form]


def render_all(record: GateRecord, forms: Iterable[str]) -> dict[str, str]:
    """Draw `record` in each of `forms`."""
    held = from_dict(GateRecord, json.loads(as_json(record)))
    return {form: _FORMATS[form](held) for form in forms}


def read_record(source: str, where: str) -> GateRecord:
    """Read a record back from JSON.

    Raises:
        UsageError: no JSON, or not a record of this version; `where` is named.
    """
    try:
        plain = json.loads(source)
        if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
            message = f"{where} is not a record of schema version {SCHEMA_VERSION}"
            raise UsageError(message, hint="Give a record.json that gatekeeper wrote.")
        return from_dict(GateRecord, plain)
    except (ValueError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        message = f"{where} is not a record: {what}"
        raise UsageError(message, hint="Give a record.json that gatekeeper wrote.") from None


__all__ = ["FORMATS", "compare", "json_schema", "read_record", "render", "render_all"]
