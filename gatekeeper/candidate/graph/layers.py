"""Operators with weights, as torch's own layers: what screens, purifiers and the export know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatekeeper.candidate.graph.windows import pads_of

Ints = Sequence[int]


class UnfitError(Exception):
    """The weights or settings of an operator are none that its layer has."""


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, kernel_shape: Ints | None = None,
    group: int = 1, strides: Ints | None = None, pads: Ints | None = None,
    dilations: Ints | None = None, auto_pad: str = "NOTSET",
) -> list[nn.Module]:  # fmt: skip
    """Convolution over images, behind padding of its own where it is uneven."""
    _fits(weight.dim() == 4, "it is no convolution over images")
    kernel = list(weight.shape[2:])
    _fits(kernel_shape is None or list(kernel_shape) == kernel, "kernel_shape is not its weight's")
    words = {"auto_pad": auto_pad, "pads": pads, "strides": strides, "dilations": dilations}
    both = pads_of(x, kernel, words)
    _fits(len(both) == 4, "its padding is not that of images")
    begin, end = both[:2], both[2:]
    before: list[nn.Module] = []
    if begin != end:
        before.append(nn.ZeroPad2d((begin[1], end[1], begin[0], end[0])))
        begin = [0, 0]
    layer = nn.Conv2d(
        weight.shape[1] * group, weight.shape[0], (kernel[0], kernel[1]),
        stride=_pair(strides), padding=_pair(begin), dilation=_pair(dilations), groups=group,
        bias=bias is not None, device="meta",
    )  # fmt: skip
    return [*before, _filled(layer, weight=weight, bias=bias)]


def gemm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, alpha: float = 1.0,
    beta: float = 1.0, transA: int = 0, transB: int = 0,  # noqa: N803 - ONNX's names
) -> list[nn.Module]:  # fmt: skip
    """Linear layer on a matrix of features."""
    _fits(not transA and x.dim() == 2 and weight.dim() == 2, "it is no linear layer")
    rows = (weight if transB else weight.T) * alpha  # (out, in)
    if bias is not None:
        _fits(bias.numel() in (1, len(rows)) and bias.dim() <= 2, "its bias is no row")
        bias = (bias.flatten() * beta).expand(len(rows))
    return [_linear(rows, bias)]


def matmul(x: Tensor, weight: Tensor) -> list[nn.Module]:
    """Linear layer without bias, on features of any rank."""
    _fits(weight.dim() == 2, "it multiplies by no matrix")
    return [_linear(weight.T, None)]


def batch_norm(
    x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, *,
    epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0, spatial: int = 1,
) -> list[nn.Module]:  # fmt: skip
    """BatchNorm with its statistics; ONNX's momentum weighs the old ones, torch's the new."""
    _fits(not training_mode and spatial == 1, "it is in training mode")
    of = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    _fits(x.dim() in of, "it is no BatchNorm over images or features")
    layer = of[x.dim()](len(scale), eps=epsilon, momentum=1 - momentum, device="meta")
    _filled(layer, weight=scale, bias=shift)
    _fits(mean.shape == variance.shape == scale.shape, "its statistics are of other channels")
    layer.running_mean, layer.running_var = mean.clone(), variance.clone()
    layer.num_batches_tracked = torch.tensor(0)
    return [layer]


def layer_norm(
    x: Tensor, scale: Tensor, shift: Tensor | None = None, *, axis: int = -1,
    epsilon: float = 1e-5, stash_type: int = 1,
) -> list[nn.Module]:  # fmt: skip
    """LayerNorm over the last axes."""
    shape = list(x.shape[axis:])
    layer = nn.LayerNorm(shape, eps=epsilon, bias=shift is not None, device="meta")
    return [_filled(layer, weight=scale, bias=shift)]


def instance_norm(
    x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float = 1e-5
) -> list[nn.Module]:
    """InstanceNorm by each image's own statistics."""
    of = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d}
    _fits(x.dim() in of, "it is no InstanceNorm over images")
    layer = of[x.dim()](len(scale), eps=epsilon, affine=True, device="meta")
    return [_filled(layer, weight=scale, bias=shift)]


def group_norm(
    x: Tensor, scale: Tensor, shift: Tensor, *, num_groups: int, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> list[nn.Module]:  # fmt: skip
    """GroupNorm; before opset 21 it had one scale for each group."""
    channels = x.shape[1]
    if len(scale) == num_groups:
        scale, shift = (one.repeat_interleave(channels // num_groups) for one in (scale, shift))
    layer = nn.GroupNorm(num_groups, channels, eps=epsilon, device="meta")
    return [_filled(layer, weight=scale, bias=shift)]


# Operator -> the layers that it becomes, and which of its inputs may flow: the first only.
LAYERS: dict[str, Callable[..., list[nn.Module]]] = {
    "Conv": conv, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm, "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
}  # fmt: skip


def _linear(rows: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(rows.shape[1], rows.shape[0], bias=bias is not None, device="meta")
    return _filled(layer, weight=rows, bias=bias)


def _filled(layer: nn.Module, *, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Give a layer, built without memory, its weights."""
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        wanted: Any = getattr(layer, name)
        told = f"its {name} is {tuple(tensor.shape)} of {tensor.dtype}"
        _fits(tensor.shape == wanted.shape and tensor.dtype == torch.float32, told)
        setattr(layer, name, nn.Parameter(tensor.detach().clone().contiguous()))
    return layer


def _pair(numbers: Ints | None) -> tuple[int, int]:
    if numbers is None:
        return 1, 1
    _fits(len(numbers) == 2, "its settings are not those of images")
    return int(numbers[0]), int(numbers[1])


def _fits(truth: bool, otherwise: str) -> None:
    if not truth:
        raise UnfitError(otherwise)
