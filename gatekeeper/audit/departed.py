"""Which versions are gone: only those that a second list of the registry lacks as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatekeeper.audit.settled import Settled
from gatekeeper.errors import RegistryError
from gatekeeper.foreign_text import visible
from gatekeeper.ledger.entries import Seen
from gatekeeper.registry.interface import Registry

Place = tuple[str, str]  # model and version


def departed(
    registry: Registry, before: Mapping[Place, Seen], settled: Iterable[Settled]
) -> tuple[list[Seen], str]:
    """Give the versions that were there `before` and are gone, and what speaks against the list.

    A list that is read page by page may pass over a version while another one is deleted, and a
    model whose versions cannot be listed loses none of them.
    """
    there, unlisted = set[Place](), set[str]()
    for one in settled:
        there.add((one.version.model, one.version.version))
        if one.version.fault and not one.version.version:
            unlisted.add(one.version.model)
    missing = {
        place: seen
        for place, seen in before.items()
        if not seen.gone and place not in there and place[0] not in unlisted
    }
    if not missing:
        return [], ""
    try:
        again = {(version.model, version.version) for version in registry.versions()}
    except RegistryError as error:
        return [], f"the second list of versions broke off: {error}. {error.hint}".strip()
    moved = sorted(missing.keys() & again)
    told = ""
    if moved:
        name = visible("/".join(moved[0]))
        told = f"the list passed over {len(moved)} version(s), such as {name}. Audit again."
    return [seen for place, seen in missing.items() if place not in again], told
