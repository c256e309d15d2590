"""Rows 10, 11 and 14 to 20 of the scorecard: names, weights, places, documents, honest files."""

from __future__ import annotations

import io
import os
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evasion_cases import BLOCK, CLEAN, HANDLED, UNDECIDED, USAGE, Case, Words, laid, scanned
from hostile import HARMLESS, PAYLOAD, checkpoint, entry, headed
from PIL import Image
from safetensors.torch import save

from gatekeeper.candidate.networks import BUILT_IN

_SCAN = ["--policy", "ci", "--out", "run", "--quiet"]
_MARKUP = "<script>alert(1)</script>"


def saved(content: Any, **more: Any) -> bytes:
    """Write with torch's own saver."""
    out = io.BytesIO()
    torch.save(content, out, **more)
    return out.getvalue()


def _state() -> OrderedDict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BUILT_IN["gatekeeper:small-resnet"](1, 8, 8, 10)
    return OrderedDict(network.state_dict())


def _named(name: str, content: bytes, *, scan: bool = False) -> Callable[[Path], Words]:
    def lay(folder: Path) -> Words:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(name))).write_bytes(content)
        return ["scan", *_SCAN, "--", name] if scan else ["inspect", "--", name]

    return lay


_METADATA = {"__metadata__": {"note": f"{_MARKUP}\x1b[2J\n::error::no"}, "a": entry([1], [0, 4])}
_EVIL_NAME = b"\x80\x02c\x1b[2J::error::\n<script>\n)R."
_NAMES = {
    "markup": f"{_MARKUP.replace('/', '_')}.pt", "ANSI escapes": "a\x1b[31mb.pt",
    "`::error::` behind a newline": "a\n::error::b.pt", "255 bytes": "x" * 252 + ".pt",
    "no UTF-8": os.fsdecode(b"\xff\xfe.pt"), "`--help`": "--help",
}  # fmt: skip


def _weights(change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    state = _state()
    name = next(name for name, tensor in state.items() if tensor.dim() == 4)
    return saved({**state, name: change(state[name])})


def _nan(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.index_fill(0, torch.tensor([0]), float("nan"))


_BAD, _READ = "non-finite-weights", "no clean images"  # it was read, and nothing else is missing
# What must be told of them.
_WEIGHTS: dict[str, tuple[str, bytes]] = {
    "NaN": (_BAD, _weights(_nan)), "infinite": (_BAD, _weights(lambda t: t / 0)),
    "all zero": ("all-zero-layer", _weights(lambda t: t * 0)),
    "bf16": (_READ, _weights(lambda t: t.bfloat16())),
    "fp8": (_READ, _weights(lambda t: t.to(torch.float8_e4m3fn))),
    "int8": ("holds int8, expected float32", _weights(lambda t: t.to(torch.int8))),
    "0-dim": ("no known one has", _weights(lambda t: t.sum())),
    "empty": ("no known one has", _weights(lambda t: t[:0])),
}  # fmt: skip


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "model.pt")


def _folder(folder: Path) -> None:
    (folder / "model.pt").mkdir()


def _link(to: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.pt").symlink_to(to)


_PLACES: dict[str, Callable[[Path], None]] = {
    "FIFO": _fifo, "folder": _folder, "device": _link("/dev/zero"),
    "dangling link": _link("nowhere"),
    "link to itself": _link("model.pt"), "link to a file of the system": _link("/etc/passwd"),
}  # fmt: skip


def _place(make: Callable[[Path], None], words: Words) -> Callable[[Path], Words]:
    def lay(folder: Path) -> Words:
        make(folder)
        return words

    return lay


_POLICY = "name: ours\nrequire:\n  clean_accuracy: { at_least: 0.9 }\n"
_WAIVER = (
    "waivers:\n  - { rule: norm-outlier, artifact: 'sha256:" + "0" * 64
    + "', reason: known, owner: me, expires: 2020-01-01 }\n"
)  # fmt: skip
_DOCUMENTS: dict[str, str | bytes] = {
    "unknown key": _POLICY + "requires: {}\n", "NaN threshold": _POLICY.replace("0.9", ".nan"),
    "waiver without reason": _POLICY + _WAIVER.replace("reason: known, ", ""),
    "a YAML tag": _POLICY + "x: !!python/object/apply:os.system ['true']\n",
    "alias bomb": _POLICY + "a: &a [x]\nb: &b [*a, *a]\n", "not UTF-8": b"name: \xff\n",
    "a number on base 60 without end": _POLICY + "x: 1" + ":1" * 200_000 + "\n",
    "a float on base 60": _POLICY + "x: 1" + ":1" * 200 + ".5\n",
    "400 KB of values": _POLICY + "x: [" + "0," * 200_000 + "]\n",
}  # fmt: skip


def _document(text: str | bytes, *, card: bool = False) -> Callable[[Path], Words]:
    def lay(folder: Path) -> Words:
        (folder / "own.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        if not card:
            return ["policy", "check", "own.yaml"]
        (folder / "model.pt").write_bytes(checkpoint(HARMLESS))
        return ["scan", "model.pt", "--card", "own.yaml", *_SCAN]

    return lay


def _unreadable(folder: Path) -> None:
    (folder / "own.yaml").mkdir()


def _images(count: int, damage: Callable[[Path], object]) -> Callable[[Path], Words]:
    """Lay out a network for ten classes, and `count` class folders of ten images."""

    def lay(folder: Path) -> Words:
        (folder / "model.pt").write_bytes(saved(_state()))
        chance = np.random.default_rng(0)
        (folder / "clean").mkdir()
        for number in range(count * 10):
            place = folder / f"clean/{number // 10}"
            place.mkdir(exist_ok=True)
            noise = chance.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(place / f"{number}.png")
        damage(folder / "clean/0/0.png")
        return ["scan", "model.pt", "--data", "clean", *_SCAN]

    return lay


def _as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


_CLEAN_SETS = {
    "nine classes for ten": _images(9, lambda _: None), "no image": _images(0, lambda _: None),
    "one class": _images(1, lambda _: None),
    "a corrupt image": _images(10, lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))),
    "an image of 80 megapixels": _images(10, lambda f: Image.new("1", (32_000, 2_500)).save(f)),
    "a folder called like an image": _images(10, _as_folder),
}  # fmt: skip


def _training() -> dict[str, Any]:
    """What a training loop keeps beside its weights."""
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    return {
        "optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict(),
        "scaler": scaler.state_dict(), "rng": (torch.get_rng_state(), np.random.get_state()),
    }  # fmt: skip


def _lightning() -> dict[str, Any]:
    training = _training()
    return {
        "epoch": 3, "global_step": 90, "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict((f"model.{k}", v) for k, v in _state().items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [training["optimizer"]], "lr_schedulers": [training["lr_scheduler"]],
        "MixedPrecision": training["scaler"], "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "path": Path("/data"), "dtype": torch.float16},
    }  # fmt: skip


def _timm() -> dict[str, Any]:
    training = _training()
    return {
        "epoch": 7, "arch": "resnet18", "state_dict": _state(), "state_dict_ema": _state(),
        "optimizer": training["optimizer"], "amp_scaler": training["scaler"], "version": 2,
        "args": Namespace(model="resnet18", lr=0.1, mean=(0.5,), amp=True),
        "metric": np.float64(0.9),
    }  # fmt: skip


def _numbers() -> dict[str, Any]:
    return {
        "net": _state(), "acc": np.float32(0.5), "step": np.int64(3), "best": np.bool_(True),
        "confusion": np.eye(3), "classes": np.array(["a", "b"]),
        "config": {"lr": 0.1, "on": {1, 2}},
    }  # fmt: skip


_HONEST: dict[str, tuple[str, bytes]] = {
    "torch zip": ("model.pt", saved(_state())),
    "torch zip, protocol 4": ("model.pt", saved(_state(), pickle_protocol=4)),
    "legacy file": ("model.pth", saved(_state(), _use_new_zipfile_serialization=False)),
    "safetensors with metadata": ("model.safetensors", save(_state(), metadata={"format": "pt"})),
    "optimizer, schedule, AMP scaler, random state": (
        "model.pt", saved({"state_dict": _state(), **_training()})),
    "EMA copy": ("model.pt", saved({"model": _state(), "model_ema": _state(), "epoch": 3})),
    "numpy numbers and arrays, configuration": ("model.pt", saved(_numbers())),
    "as Lightning writes it": ("model.ckpt", saved(_lightning())),
    "as timm writes it": ("model.pth.tar", saved(_timm())),
    "as timm writes it, legacy": (
        "m.pth.tar", saved(_timm(), _use_new_zipfile_serialization=False)),
}  # fmt: skip


def _registry(folder: Path) -> Words:
    """Lay out a pointer in the place of weights, an empty version, and a dangling link."""
    for version in ("a/1", "a/2", "b/1"):
        (folder / "models" / version).mkdir(parents=True)
    (folder / "models/a/1/model.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "models/b/1/model.pt").symlink_to("nowhere")
    return ["audit", "models", "--out", "run", "--quiet"]


def _elsewhere(row: int, what: str, where: str) -> Case:
    return Case(row=row, what=what, expect=HANDLED, elsewhere=where)


CASES = [
    *(Case(row=10, what=f"file name: {what}", expect=BLOCK, lay=_named(name, PAYLOAD))
      for what, name in _NAMES.items()),
    Case(row=10, what="file name of markup, scanned", expect=BLOCK,
         lay=_named(_NAMES["markup"], _EVIL_NAME, scan=True)),
    Case(row=10, what="metadata of markup, escapes and newlines", expect=CLEAN,
         lay=laid(headed(_METADATA, bytes(4)), "model.safetensors")),
    Case(row=10, what="import of escapes, `::error::` and markup", expect=BLOCK,
         lay=laid(_EVIL_NAME)),
    *(Case(row=11, what=f"{what} weights, scanned", lay=scanned(content), told=(told,),
           expect=BLOCK if what in ("NaN", "infinite") else UNDECIDED)
      for what, (told, content) in _WEIGHTS.items()),
    *(Case(row=14, what=what, expect=UNDECIDED, lay=_place(make, ["inspect", "model.pt"]))
      for what, make in _PLACES.items()),
    Case(row=14, what="FIFO, scanned", expect=UNDECIDED,
         lay=_place(_fifo, ["scan", "model.pt", *_SCAN])),
    _elsewhere(14, "file that changes meanwhile", "`tests/candidate/test_inspect.py`"),
    *(Case(row=15, what=f"policy: {what}", expect=USAGE, lay=_document(text), told=("own.yaml:",))
      for what, text in _DOCUMENTS.items()),
    Case(row=15, what="policy: expired waiver", expect=USAGE, lay=_document(_POLICY + _WAIVER),
         excuse="a waiver that has expired is no error of the policy: the scan judges without it "
         "and says so (`tests/test_verdict.py`)"),
    Case(row=15, what="policy: a folder", expect=USAGE,
         lay=_place(_unreadable, ["policy", "check", "own.yaml"])),
    Case(row=15, what="card: unknown key", expect=USAGE, lay=_document("class: [a]\n", card=True),
         told=("own.yaml:1",)),
    *(Case(row=16, what=what, expect=USAGE, lay=lay) for what, lay in _CLEAN_SETS.items()),
    _elsewhere(16, "too few for the policy", "`tests/test_bad_input.py`"),
    Case(row=17, what="unknown architecture, scanned", expect=UNDECIDED,
         lay=scanned(saved({"w": torch.ones(3, 3)})), told=("no known one has",)),
    _elsewhere(17, "quantised, tied, no BatchNorm", "`tests/candidate/test_odd_weights.py`, "
               "`tests/test_architectures_all.py`"),
    _elsewhere(17, "softmax output, grey images, export that fails",
               "`tests/test_export.py`, `tests/test_data.py`"),
    _elsewhere(18, "killed, full disk, two runs, closed pipe", "`tests/test_kill.py`, "
               "`tests/test_bad_input.py`, `tests/test_resume.py`, `tests/test_pipes.py`"),
    _elsewhere(18, "no GPU where one was asked for", "`tests/test_bad_input.py`"),
    Case(row=18, what="GPU out of memory", expect=HANDLED, excuse="the batch is halved once and "
         "told (`purification/tuning.py`), but no test fills a GPU"),
    Case(row=19, what="a folder of versions that cannot be read", expect=UNDECIDED, lay=_registry,
         told=("a/1: UNDECIDED", "Git LFS", "a/2: UNDECIDED", "holds no file", "b/1: UNDECIDED")),
    _elsewhere(19, "version deleted meanwhile, 401, 500, slow answers, token loop, small disk",
               "`tests/registry/test_faults.py`, `tests/registry/test_disk_full.py`, "
               "`tests/audit/test_audit_faults.py`"),
    *(Case(row=20, what=what, expect=CLEAN, lay=laid(content, name))
      for what, (name, content) in _HONEST.items()),
]  # fmt: skip
