"""Registries of small files that are judged within seconds, and audits of them."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from candidates import gatekeeper

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
POLICY = """
name: quick
screen: [neuron-norm]
purify: {when: never}
accept_hardened: false
require: {clean_accuracy: {at_least: 0.8}}
"""


class _Call:
    def __init__(self, argument: str) -> None:
        self.argument = argument

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getenv, (self.argument,)


def hostile(note: str = "HOME") -> bytes:
    """A pickle that calls a function outside the allow-list; another note, another digest."""
    return pickle.dumps(_Call(note))


def put(registry: Path, model: str, version: str, content: bytes, name: str = "model.pt") -> Path:
    """Lay a file into the registry."""
    path = registry / model / version / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def configure(folder: Path, more: str = "", rules: str = "") -> Path:
    """Write `audit.yaml` with a policy that asks for little."""
    (folder / "quick.yaml").write_text(POLICY, encoding="utf-8")
    text = f"policy: quick.yaml\n{more}\n{'rules:' if rules else ''}\n{rules}\n"
    (folder / "audit.yaml").write_text(text, encoding="utf-8")
    return folder / "audit.yaml"


def audit(
    folder: Path, *words: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `gatekeeper audit models` in `folder`."""
    return gatekeeper("audit", "models", "--config", "audit.yaml", *words, cwd=folder, env=env)


def rows(folder: Path, out: str = "gatekeeper-audit") -> dict[str, dict[str, Any]]:
    """Rows of the last audit by MODEL/VERSION."""
    read = json.loads((folder / out / "audit.json").read_text(encoding="utf-8"))
    return {f"{row['model']}/{row['version']}": row for row in read["rows"]}


def told(folder: Path, out: str = "gatekeeper-audit") -> dict[str, Any]:
    """The last audit."""
    read: dict[str, Any] = json.loads((folder / out / "audit.json").read_text(encoding="utf-8"))
    return read


def judgements(folder: Path, out: str = "gatekeeper-audit") -> list[tuple[str, str]]:
    """Digest and verdict of all that was ever judged."""
    with sqlite3.connect(folder / out / "ledger.sqlite") as ledger:
        found = ledger.execute("SELECT artifact_sha256, decision FROM judgements").fetchall()
    ledger.close()
    return found
