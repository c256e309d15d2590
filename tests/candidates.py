"""Candidates and clean images as files on disk, and the gate as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatekeeper.demo import CARD
from gatekeeper.model import Images, Model

ROOT = Path(__file__).resolve().parent.parent
UNREPEATABLE = {"started_at", "finished_at", "timings", "seconds"}
# Python runs a sitecustomize.py on its path at start: this one notes who wants to talk to whom.
_WATCH = """
import os, sys
def note(event, words):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {words[-1] if event != 'socket.getaddrinfo' else words[:2]}\\n")
sys.addaudithook(note)
"""


def save_images(images: Images, path: Path) -> Path:
    """Save grey images as the gate's own `.npz`."""
    np.savez(path, images=images.pixels[:, 0].numpy(), labels=images.labels.numpy())
    return path


def save_candidate(model: Model, folder: Path, *, card: str = CARD) -> Path:
    """Save a state dict under a key, with its card beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"net": model.network.state_dict()}, folder / "model.pt")
    (folder / "model.card.yaml").write_text(card, encoding="utf-8")
    return folder / "model.pt"


def quick_policy(folder: Path, name: str) -> Path:
    """Write a shipped policy that names two screens, for tests that are about something else."""
    text = (ROOT / "policies" / f"{name}.yaml").read_text(encoding="utf-8")
    quick, found = re.subn(r"screen: \[[^]]*\]", "screen: [neuron-norm, trigger-inversion]", text)
    assert found == 1
    path = folder / f"quick-{name}.yaml"
    path.write_text(quick, encoding="utf-8")
    return path


def plain_policy(folder: Path, name: str) -> Path:
    """Write a shipped policy without triggers, for tests of what comes before and after them."""
    text = quick_policy(folder, name).read_text(encoding="utf-8")
    plain = text.replace(", trigger-inversion]", "]")
    plain, found = re.subn(r"\n *(recovered_trigger_success|smallest_trigger_area):.*", "", plain)
    assert found == 2
    path = folder / f"plain-{name}.yaml"
    path.write_text(plain, encoding="utf-8")
    return path


def gatekeeper(
    *words: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the command line in `cwd`, with words `before` it; nothing is checked."""
    return subprocess.run(
        [*before, sys.executable, "-m", "gatekeeper", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        check=False,
    )


def watched_network(folder: Path) -> dict[str, str]:
    """Give an environment in which every wish for a connection goes to `folder/network.log`."""
    (folder / "watch").mkdir()
    (folder / "watch/sitecustomize.py").write_text(_WATCH, encoding="utf-8")
    (folder / "network.log").touch()
    paths = [str(folder / "watch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "NETWORK_LOG": str(folder / "network.log")}


def repeatable(content: Any) -> Any:
    """Leave out of a record what no two runs share: times and seconds."""
    if isinstance(content, dict):
        return {k: repeatable(v) for k, v in content.items() if k not in UNREPEATABLE}
    return [repeatable(item) for item in content] if isinstance(content, list) else content
