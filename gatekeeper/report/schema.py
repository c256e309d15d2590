"""Records from plain dictionaries, validated, and their JSON Schema, generated from them."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

from gatekeeper.records import GateRecord

Record = TypeVar("Record")


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def from_dict(shape: type[Record], plain: Any) -> Record:
    """Build a record from what `json.loads` gave.

    Raises:
        pydantic.ValidationError: it has another shape.
    """
    record: Record = _adapter(shape).validate_python(plain)  # type: ignore[arg-type]
    return record


def json_schema() -> dict[str, Any]:
    """Describe `record.json` as a JSON Schema."""
    schema: dict[str, Any] = _adapter(GateRecord).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
