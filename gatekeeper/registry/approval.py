"""What MLflow's users see of a verdict: tags, and an alias that leads to what may be deployed."""

from __future__ import annotations

from typing import Any

from gatekeeper.registry.interface import Outcome

VERDICT = "gatekeeper.verdict"
SOURCE_VERSION = "gatekeeper.source_version"  # of a hardened one: what it was made from
HARDENED_VERSION = "gatekeeper.hardened_version"  # of its source: where it is
HARDENED_SHA256 = "gatekeeper.hardened_sha256"


def tags(outcome: Outcome) -> dict[str, str]:
    """Give the tags of a judged version, the verdict first."""
    return {
        VERDICT: outcome.decision,
        "gatekeeper.accepted": str(outcome.accepted).lower(),
        "gatekeeper.policy_sha256": outcome.policy_sha256,
        "gatekeeper.artifact_sha256": outcome.artifact_sha256,
        "gatekeeper.report_uri": outcome.report,
        "gatekeeper.scanned_at": outcome.judged_at,
    }


def withdraw(client: Any, alias: str, name: str, number: str) -> None:
    """Remove the alias where it leads to this very version."""
    if _holder(client, alias, name) == number:
        client.delete_registered_model_alias(name, alias)


def grant(client: Any, alias: str, name: str, number: str) -> None:
    """Lead the alias to a version, unless a newer one that may be deployed has it.

    A hardened version that was itself judged since, and did not pass, does not get it.
    """
    if _refused(client.get_model_version(name, number).tags):
        return
    holder = _holder(client, alias, name)
    if holder == number:
        return
    if holder and int(holder) > int(number):
        held = client.get_model_version(name, holder).tags
        if not _refused(held) and (VERDICT in held or HARDENED_SHA256 in held):
            return
    client.set_registered_model_alias(name, alias, number)


def _refused(known: dict[str, str]) -> bool:
    """Tell whether a version was judged and did not pass as it is.

    Of a hardened verdict only the hardened artifact may be deployed, and that is another version.
    """
    return known.get(VERDICT, "pass") != "pass"


def _holder(client: Any, alias: str, name: str) -> str:
    """Give the number of the version that has the alias; "" where none has."""
    return str(client.get_registered_model(name).aliases.get(alias, ""))
