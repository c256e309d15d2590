"""The child hands back the tensors that were saved, or one clear reason."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gatekeeper.candidate.extraction import Extraction, extract
from gatekeeper.candidate.refusals import MalformedTensorError
from gatekeeper.errors import CandidateError


def taken(path: Path, kind: str = "torch-zip", **more: Any) -> tuple[Extraction, dict[str, Any]]:
    """Extract `path` and load what came out."""
    out = path.with_suffix(".out")
    with path.open("rb") as stream:
        extraction = extract(stream, kind, out, **more)
    return extraction, load_file(out)


def tensors() -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    wide = torch.randn(4, 6, generator=chance)
    return {
        "plain": wide,
        "transposed": wide.t(),
        "sliced": wide[1:3, ::2],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "half": wide.half(),
        "bfloat": wide.bfloat16(),
        "double": wide.double(),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "signed": torch.arange(-2, 3, dtype=torch.int8),
        "long": torch.tensor([1 << 40]),
        "truth": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(wide),
    }


@pytest.mark.parametrize("legacy", [True, False])
def test_every_kind_of_tensor_comes_back_as_it_was(legacy: bool, tmp_path: Path) -> None:
    saved = tensors()
    torch.save(saved, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    extraction, loaded = taken(tmp_path / "m.pt", "torch-legacy" if legacy else "torch-zip")
    assert set(loaded) == set(saved)
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())
    assert extraction.tensors["plain"] == ("F32", (4, 6))


def test_eight_bit_floats_come_back(tmp_path: Path) -> None:
    saved = {"w": torch.ones(3).to(torch.float8_e4m3fn)}
    torch.save(saved, tmp_path / "m.pt")
    _, loaded = taken(tmp_path / "m.pt")
    assert loaded["w"].dtype == torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("wrapped", "key"),
    [("state_dict", "state_dict"), ("net", "net"), ("model", "model"), ("something", "something")],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_are_found_under_keys_and_prefixes(
    wrapped: str, key: str, prefix: str, tmp_path: Path
) -> None:
    state = OrderedDict({f"{prefix}a.weight": torch.ones(2), f"{prefix}b.bias": torch.zeros(1)})
    torch.save({"epoch": 1, wrapped: state}, tmp_path / "m.pt")
    extraction, loaded = taken(tmp_path / "m.pt")
    assert set(loaded) == {"a.weight", "b.bias"}
    assert (extraction.weights_key, extraction.prefix) == (key, prefix)


def test_tied_weights_are_both_there(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    torch.save({"in": shared.view(2, 3), "out": shared.view(3, 2)}, tmp_path / "m.pt")
    _, loaded = taken(tmp_path / "m.pt")
    assert torch.equal(loaded["in"].flatten(), loaded["out"].flatten())


def test_the_card_may_name_the_key(tmp_path: Path) -> None:
    torch.save({"net": {"w": torch.ones(1)}, "ema": {"w": torch.zeros(1)}}, tmp_path / "m.pt")
    _, loaded = taken(tmp_path / "m.pt", weights_key="ema")
    assert float(loaded["w"]) == 0
    with pytest.raises(CandidateError, match="weights_key"):
        taken(tmp_path / "m.pt", weights_key="nowhere")


def test_the_protections_are_named(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "m.pt")
    extraction, _ = taken(tmp_path / "m.pt")
    assert {"own process", "nothing of our environment", "resource limits"} <= set(
        extraction.protections
    )


def forged(path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Path:
    """Write a torch zip whose one tensor is described as the caller says, over four floats."""
    stream = io.BytesIO()

    class Forger(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            if obj is storage:
                return ("storage", torch.FloatStorage, "0", "cpu", 4)
            return None

    class Tensor:
        def __reduce__(self) -> Any:
            words = (storage, offset, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, words

    storage = object()
    Forger(stream, protocol=2).dump({"w": Tensor()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", stream.getvalue())
        archive.writestr("m/data/0", struct.pack("<4f", 1, 2, 3, 4))
        archive.writestr("m/version", "3\n")
    return path


def test_an_honest_forgery_is_read(tmp_path: Path) -> None:
    _, loaded = taken(forged(tmp_path / "m.pt", (2, 2), (2, 1), 0))
    assert loaded["w"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (2, 1), 1),
        ((2,), (4,), 0),
        ((2,), (-1,), 3),
        ((2,), (1,), -1),
        ((-2,), (1,), 0),
        ((1 << 60,), (0,), 0),
        ((1 << 40, 1 << 40), (0, 0), 0),
        ((2, 2), (1,), 0),
    ],
)
def test_a_tensor_that_lies_about_its_storage_is_blocked(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    with pytest.raises(MalformedTensorError):
        taken(forged(tmp_path / "m.pt", size, stride, offset))


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"w": {"x": 3}}, "text", {"net": {}}, {}])
def test_files_without_tensors_say_so(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(CandidateError, match=r"state dict|no tensors"):
        taken(tmp_path / "m.pt")


def test_honest_safetensors_pass_through(tmp_path: Path) -> None:
    saved = {name: t.contiguous().clone() for name, t in tensors().items() if name != "parameter"}
    save_file(saved, tmp_path / "m.safetensors", metadata={"format": "pt"})
    _, loaded = taken(tmp_path / "m.safetensors", "safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
