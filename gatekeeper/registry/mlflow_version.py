"""A version as MLflow lists it, told as every registry tells one."""

from __future__ import annotations

import hashlib
from typing import Any

from gatekeeper.registry.interface import Version
from gatekeeper.registry.names import is_plain, shown
from gatekeeper.registry.redaction import in_one_line

_ODD = "its name cannot be a folder's: register it under another"
_READY = "READY"


def described(found: Any) -> Version:
    """Describe a `ModelVersion` of MLflow; one not ready, or with an odd name, has a fault."""
    name, number = str(found.name), str(found.version)
    fault = ""
    if not (is_plain(name) and is_plain(number)):
        fault = _ODD
    elif found.status != _READY:
        said = f": {found.status_message}" if found.status_message else ""
        fault = in_one_line(f"its registration did not end well ({found.status}){said}")
    return Version(
        model=shown(name),
        version=shown(number),
        address=f"models:/{shown(name)}/{shown(number)}",
        fingerprint=_fingerprint(found),
        fault=fault,
    )


def _fingerprint(found: Any) -> str:
    """Digest what MLflow never changes about a version; it tells no digest of the bytes.

    So this cannot see files that were overwritten in the artifact store underneath.
    """
    if not found.source:
        return ""
    facts = (found.source, found.run_id, getattr(found, "model_id", None), found.creation_timestamp)
    return f"sha256:{hashlib.sha256(repr(facts).encode()).hexdigest()}"
