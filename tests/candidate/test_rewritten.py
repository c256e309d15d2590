"""No file changes what the gate makes of the next, or is another network for torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forged import checkpoint, inspect, inspected, stack_global, text, zipped
from test_described import FOUR, number, storage, tensor

from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.inspect import Inspection, Inspector
from gatekeeper.candidate.refusals import MalformedTensorError, QuarantineError
from gatekeeper.candidate.unpickler import OF_TENSORS

PARAMETER = stack_global("torch._utils", "_rebuild_parameter")
STATEFUL = stack_global("torch._utils", "_rebuild_parameter_with_state")
REBUILD = stack_global("torch._utils", "_rebuild_tensor_v2")
COUNTER = stack_global("collections", "Counter")
SLICE = stack_global("builtins", "slice")
OF_TYPE = stack_global("torch._tensor", "_rebuild_from_type_v2")
TENSOR = stack_global("torch", "Tensor")
WORDS = tensor(storage()).partition(REBUILD)[2][:-3]  # "(", the arguments, "t"
PADDING = b"N0" * 26_000
PAYLOAD = b"cos\nsystem\n(S'true'\ntR."


def rewritten(what: bytes, name: str, value: bytes) -> bytes:
    """Give what a parameter is around other slots: BUILD with a pair of dicts."""
    slots = b"N}" + text(name) + value + b"s\x86"
    return b"\x80\x02" + PARAMETER + b"(" + what + b"\x88NtR" + slots + b"b."


@pytest.mark.parametrize(
    "poison",
    [
        rewritten(REBUILD, "__defaults__", b"NN\x88\x87"),
        rewritten(COUNTER, "update", SLICE),
        rewritten(COUNTER, "update", REBUILD),
    ],
)
def test_a_file_changes_nothing_for_the_next(poison: bytes, tmp_path: Path) -> None:
    files = {
        "poison": checkpoint(poison),
        "lies": checkpoint(tensor(storage(), size=number(1000)), **{"data/0": FOUR}),
        "twins": checkpoint(b"\x80\x02}.", **{"Data.pkl": b"\x80\x02}."}),
        "honest": checkpoint(tensor(storage()), **{"data/0": FOUR}),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with Inspector() as inspector:
        told = inspector.inspect_each([tmp_path / name for name in files])
    poisoned, lies, twin, honest = (one for one in told if isinstance(one, Inspection))
    assert [one.rule_id for one in poisoned.findings] == ["malformed-tensor"]
    assert [one.rule_id for one in lies.findings] == ["malformed-tensor"]
    assert twin.unreadable
    assert (honest.findings, honest.unreadable) == ((), "")


@pytest.mark.parametrize("name", ["data", "real", "grad", "__setstate__", "__class__"])
@pytest.mark.parametrize("maker", ["type", "parameter"])
def test_a_state_that_changes_its_tensor_is_malformed(
    name: str, maker: str, tmp_path: Path
) -> None:
    one = REBUILD + WORDS + b"R"
    state = b"}" + text(name) + one + b"s"
    made = {
        "type": OF_TYPE + b"(" + REBUILD + TENSOR + WORDS + state + b"tR",
        "parameter": STATEFUL + b"(" + one + b"\x88N" + state + b"tR",
    }[maker]
    pickled = b"\x80\x02}" + text("w") + made + b"s."
    (tmp_path / "m.pt").write_bytes(checkpoint(pickled, **{"data/0": FOUR}))
    (finding,) = inspect(tmp_path / "m.pt").findings
    assert f"state replaces its '{name}'" in finding.message
    with (tmp_path / "m.pt").open("rb") as stream, pytest.raises(MalformedTensorError):
        extract(stream, "torch-zip", tmp_path / "w.safetensors")


def test_every_attribute_that_makes_a_tensor_is_known() -> None:
    kinds = {"getset_descriptor", "property"}
    made_of = {
        name for name in dir(torch.Tensor)
        if type(getattr(torch.Tensor, name, None)).__name__ in kinds and not name.startswith("__")
    }  # fmt: skip
    assert made_of <= OF_TENSORS


def test_what_torch_writes_into_such_a_state_is_no_such_attribute(tmp_path: Path) -> None:
    kept = torch.nn.Parameter(torch.ones(2))
    kept.no_decay = True  # type: ignore[attr-defined]
    torch.save({"w": kept, "b": torch.nn.Buffer(torch.ones(1))}, tmp_path / "m.pt")
    seen = inspect(tmp_path / "m.pt")
    assert (seen.findings, seen.unreadable) == ((), "")


def test_a_tensor_gets_no_second_state(tmp_path: Path) -> None:
    made = OF_TYPE + b"(" + REBUILD + TENSOR + WORDS + b"}tR" + b"}b"
    pickled = b"\x80\x02}" + text("w") + made + b"s."
    (finding,) = inspected(checkpoint(pickled, **{"data/0": FOUR}), tmp_path).findings
    assert "gives odd arguments to torch._tensor._rebuild_from_type_v2" in finding.message


def test_the_byte_order_is_found_as_torch_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    numbers = {}
    for order in (b"big", b"little"):
        path.write_bytes(zipped({
            "data.pkl": tensor(storage()), "BYTEORDER": order, "DATA/0": b"\x40\x00\x00\x3f" * 4,
        }))  # fmt: skip
        with path.open("rb") as stream:
            extract(stream, "torch-zip", tmp_path / "w.safetensors")
        numbers[order] = (tmp_path / "w.safetensors").read_bytes()[-16:]
    assert numbers[b"big"] == numbers[b"little"][::-1] != numbers[b"little"]


@pytest.mark.parametrize(
    "members",
    [
        {"DATA.PKL": tensor(storage(), size=number(1000)), "data/0": FOUR},
        {"data.pkl": tensor(storage(count=number(1000))), "DATA/0": FOUR},
    ],
)
def test_large_letters_hide_no_lie(members: dict[str, bytes], tmp_path: Path) -> None:
    findings = inspected(zipped(members), tmp_path).findings
    assert [one.rule_id for one in findings] == ["malformed-tensor"]


def test_what_was_not_checked_is_not_clean(tmp_path: Path) -> None:
    unread = storage().replace(text("FloatStorage"), text("QInt8Storage"))
    pickled = b"\x80\x02" + unread + b"0" + tensor(storage(), size=number(1000))[2:]
    seen = inspected(checkpoint(pickled, **{"data/0": FOUR}), tmp_path)
    assert "storage type 'QInt8Storage' is not supported" in seen.unreadable
    assert "storage '0' is missing" in inspected(checkpoint(tensor(storage())), tmp_path).unreadable
    with (tmp_path / "model.pt").open("rb") as stream, pytest.raises(QuarantineError):
        extract(stream, "torch-zip", tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["config.json", "readme.txt"])
@pytest.mark.parametrize(
    "content",
    [
        PADDING + PAYLOAD, b"\x80\x04\x80\x04" + PADDING + PAYLOAD, b"N." * 1000 + PAYLOAD,
        b"\x80\x02N." * 1000 + PAYLOAD,
    ],
)  # fmt: skip
def test_padding_hides_no_payload_in_a_member(name: str, content: bytes, tmp_path: Path) -> None:
    seen = inspected(checkpoint(b"\x80\x02}.", **{name: content}), tmp_path)
    assert seen.unreadable or [one.rule_id for one in seen.findings] == ["hidden-pickle"]
