"""A transformer saved whole keeps its norm in a `functools.partial`: that one, and no other."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged import blocked, checkpoint, stack_global, text
from torch import nn
from torchvision import models

from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.loading import load
from gatekeeper.candidate.pickles import suspicions, walk
from gatekeeper.candidate.refusals import MalformedTensorError
from gatekeeper.card import Card, CardInput

NORM = stack_global("torch.nn.modules.normalization", "LayerNorm") + b"\x94"  # 0
BARE = b"\x80\x04" + NORM + b"0" + stack_global("functools", "partial") + b"h\x00\x85R"
EPS = text("eps") + b"G>\xb0\xc6\xf7\xa0\xb5\xed\x8ds"
STATE = b"(h\x00)}" + EPS + b"Ntb"


def vision_transformer() -> nn.Module:
    torch.manual_seed(0)
    return models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32,
        num_classes=5,
    )  # fmt: skip


FACTORY = """
from torchvision.models import VisionTransformer
def make(num_classes=5, **_):
    return VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=num_classes)
"""


@pytest.mark.parametrize("legacy", [True, False])
def test_a_vision_transformer_saved_whole_is_read(legacy: bool, tmp_path: Path) -> None:
    network, path = vision_transformer().eval(), tmp_path / "vit.pt"
    torch.save(network, path, _use_new_zipfile_serialization=not legacy)
    seen = inspect(path)
    assert (seen.findings, seen.unreadable) == ((), "")
    with path.open("rb") as stream:
        structure = extract(stream, seen.artifact.kind, path.with_suffix(".w")).structure
    assert structure is not None
    assert structure[0].odd == ("norm_layer",)
    (tmp_path / "nets.py").write_text(FACTORY)
    card = Card(
        path=str(tmp_path / "card.yaml"), architecture="nets.py:make", num_classes=5, trusted=True,
        input=CardInput(size=(3, 32, 32), mean=(0, 0, 0), std=(1, 1, 1)),
    )  # fmt: skip
    model = load(path.with_suffix(".w"), card, structure=structure)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images), network(images))


@pytest.mark.slow
def test_torchvisions_own_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "vit.pt"
    torch.save(models.vit_b_32(num_classes=3), path)
    assert inspect(path).findings == ()
    with path.open("rb") as stream:
        structure = extract(stream, "torch-zip", path.with_suffix(".w")).structure
    assert load(path.with_suffix(".w"), Card(), structure=structure).architecture.endswith("_32")


@pytest.mark.parametrize(
    "norm",
    [
        functools.partial(print), functools.partial(nn.LayerNorm, 5),
        functools.partial(nn.LayerNorm, eps=torch.ones(2)), functools.partial(nn.Linear, bias=True),
        functools.partial(nn.LayerNorm, eps=nn.ReLU()), functools.partial(nn.functional.relu),
        functools.partial(torch.nn.init.ones_), functools.partial(nn.LayerNorm, eps="1e-6"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("legacy", [True, False])
def test_any_other_partial_is_blocked(norm: Any, legacy: bool, tmp_path: Path) -> None:
    network: Any = vision_transformer()
    network.norm_layer = norm
    torch.save(network, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    seen = inspect(tmp_path / "m.pt")
    assert blocked(seen) == {"code-execution"}


@pytest.mark.parametrize(
    "program",
    [
        BARE + b"K\x05\x85R.",
        BARE + b")\x81.",
        BARE + STATE + b"\x94(h\x01o.",
        BARE + STATE + STATE.replace(b"h\x00", stack_global("torch.nn", "Linear")) + b".",
        BARE + b"(h\x00K\x01\x85}Ntb.",
        BARE + b"(h\x00)}Nt}\x86b.",
        BARE + b"(h\x00)}" + EPS + b"}" + EPS + b"tb.",
        BARE + b"}\x940(h\x00)h\x01Ntb0h\x01" + text("x") + stack_global("os", "system") + b"s.",
        BARE + b"}\x940(h\x00)h\x01Ntb0h\x01(" + text("x") + b"]u.",
        b"\x80\x04" + stack_global("functools", "partial") + b".",
        b"\x80\x04" + stack_global("functools", "partial") + b"\x85.",
        b"\x80\x04" + stack_global("functools", "partial") + b")R.",
        b"\x80\x04" + stack_global("functools", "partialmethod") + b"\x94.",
    ],
)
def test_what_is_done_to_a_partial_counts(program: bytes) -> None:
    def told(pickled: bytes) -> list[str]:
        walked = walk(io.BytesIO(pickled))
        assert not walked.broken
        return [found.name for found in suspicions(walked)]

    assert told(BARE + b".") == told(BARE + STATE + b".") == []
    assert any(name.startswith("functools.partial") for name in told(program))


def test_the_reader_binds_nothing_but_layers(tmp_path: Path) -> None:
    """Should the walk ever be passed by, the reader has its own word."""
    odd: Callable[[bytes], bytes] = lambda kind: (  # noqa: E731
        b"\x80\x04}" + text("w") + stack_global("functools", "partial") + kind + b"\x85Rs."
    )
    (tmp_path / "m.pt").write_bytes(checkpoint(odd(stack_global("collections", "OrderedDict"))))
    with (tmp_path / "m.pt").open("rb") as stream, pytest.raises(MalformedTensorError):
        extract(stream, "torch-zip", tmp_path / "out")
