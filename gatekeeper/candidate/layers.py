"""The layers that a pickled network may be rebuilt from, and what each may be told.

A pickle is taken at its word for nothing: every setting has a bound, and the tensors that follow
from the settings must be those in the file before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]
Check = Callable[[Any], bool]
_MOST_CHANNELS, _MOST_SIZE, _MOST_KERNEL = 1 << 24, 1024, 128


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """A class of torch.nn: the settings it is built from, and the tensors that follow.

    `optional` names tensors that may be left out by the argument of that name.
    """

    settings: Mapping[str, Check]
    tensors: Callable[[Settings], Shapes] = lambda _: {}
    optional: tuple[str, ...] = ()


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _real(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _one_of(*words: object) -> Check:
    return lambda value: any(type(value) is type(word) and value == word for word in words)


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _row(check: Check, *lengths: int) -> Check:
    return lambda value: (
        type(value) is list and len(value) in lengths and all(check(item) for item in value)
    )


_flag = _one_of(True, False)
_nothing = _one_of(None)
_channels = _whole(1, _MOST_CHANNELS)
_size = _either(_whole(1, _MOST_SIZE), _row(_whole(1, _MOST_SIZE), 2))
_kernel = _either(_whole(1, _MOST_KERNEL), _row(_whole(1, _MOST_KERNEL), 2))
_padding = _either(_whole(0, _MOST_KERNEL), _row(_whole(0, _MOST_KERNEL), 2))
_sides = _row(_whole(0, _MOST_KERNEL), 4)
_dimension = _whole(-4, 4)
_number = _real(-1e6, 1e6)
_share = _real(0, 1)
_epsilon = _real(0, 1)
_momentum = _either(_nothing, _share)
_pair = _row(_whole(1, _MOST_KERNEL), 2)
_target = _either(_size, _row(_either(_nothing, _whole(1, _MOST_SIZE)), 2))


def _conv(settings: Settings) -> Shapes:
    out, into, groups = (settings[key] for key in ("out_channels", "in_channels", "groups"))
    return {"weight": (out, into // groups, *settings["kernel_size"]), "bias": (out,)}


def _norm(settings: Settings) -> Shapes:
    count = (settings["num_features"],)
    shapes: Shapes = {"weight": count, "bias": count} if settings["affine"] else {}
    if settings["track_running_stats"]:
        shapes |= {"running_mean": count, "running_var": count, "num_batches_tracked": ()}
    return shapes


def _linear(settings: Settings) -> Shapes:
    out = settings["out_features"]
    return {"weight": (out, settings["in_features"]), "bias": (out,)}


def _layer_norm(settings: Settings) -> Shapes:
    shape = tuple(settings["normalized_shape"])
    return {"weight": shape, "bias": shape} if settings["elementwise_affine"] else {}


def _group_norm(settings: Settings) -> Shapes:
    count = (settings["num_channels"],)
    return {"weight": count, "bias": count} if settings["affine"] else {}


_CONV = LayerKind(
    settings={
        "in_channels": _channels, "out_channels": _channels, "kernel_size": _pair,
        "stride": _pair, "dilation": _pair, "groups": _channels,
        "padding": _either(_row(_whole(0, _MOST_KERNEL), 2), _one_of("same", "valid")),
        "padding_mode": _one_of("zeros", "reflect", "replicate", "circular"),
    },
    tensors=_conv,
    optional=("bias",),
)  # fmt: skip
_NORM = LayerKind(
    settings={
        "num_features": _channels, "eps": _epsilon, "momentum": _momentum, "affine": _flag,
        "track_running_stats": _flag,
    },
    tensors=_norm,
)  # fmt: skip
_INPLACE = LayerKind(settings={"inplace": _flag})
_PLAIN = LayerKind(settings={})
_DROPOUT = LayerKind(settings={"p": _share, "inplace": _flag})
_ALPHA = LayerKind(settings={"alpha": _number, "inplace": _flag})
_ALONG = LayerKind(settings={"dim": _dimension})
_PAD = LayerKind(settings={"padding": _sides})

LAYERS: dict[str, LayerKind] = {
    "Conv2d": _CONV,
    "Linear": LayerKind(
        settings={"in_features": _channels, "out_features": _channels},
        tensors=_linear,
        optional=("bias",),
    ),
    "BatchNorm1d": _NORM, "BatchNorm2d": _NORM, "InstanceNorm2d": _NORM,
    "LayerNorm": LayerKind(
        settings={"normalized_shape": _row(_channels, 1, 2, 3), "eps": _epsilon,
                  "elementwise_affine": _flag},
        tensors=_layer_norm,
        optional=("bias",),
    ),
    "GroupNorm": LayerKind(
        settings={"num_groups": _channels, "num_channels": _channels, "eps": _epsilon,
                  "affine": _flag},
        tensors=_group_norm,
    ),
    "LocalResponseNorm": LayerKind(
        settings={"size": _whole(1, _MOST_KERNEL), "alpha": _number, "beta": _number, "k": _number}
    ),
    "MaxPool2d": LayerKind(
        settings={"kernel_size": _kernel, "stride": _kernel, "padding": _padding,
                  "dilation": _kernel, "return_indices": _one_of(False), "ceil_mode": _flag}
    ),
    "AvgPool2d": LayerKind(
        settings={"kernel_size": _kernel, "stride": _kernel, "padding": _padding,
                  "ceil_mode": _flag, "count_include_pad": _flag,
                  "divisor_override": _either(_nothing, _whole(1, _MOST_SIZE**2))}
    ),
    "AdaptiveAvgPool2d": LayerKind(settings={"output_size": _target}),
    "AdaptiveMaxPool2d": LayerKind(
        settings={"output_size": _target, "return_indices": _one_of(False)}
    ),
    "Flatten": LayerKind(settings={"start_dim": _dimension, "end_dim": _dimension}),
    "Identity": _PLAIN, "Sigmoid": _PLAIN, "Tanh": _PLAIN, "Softsign": _PLAIN,
    "LogSigmoid": _PLAIN,
    "ReLU": _INPLACE, "ReLU6": _INPLACE, "SiLU": _INPLACE, "Mish": _INPLACE, "SELU": _INPLACE,
    "Hardswish": _INPLACE, "Hardsigmoid": _INPLACE,
    "Dropout": _DROPOUT, "Dropout1d": _DROPOUT, "Dropout2d": _DROPOUT, "AlphaDropout": _DROPOUT,
    "ELU": _ALPHA, "CELU": _ALPHA,
    "GELU": LayerKind(settings={"approximate": _one_of("none", "tanh")}),
    "LeakyReLU": LayerKind(settings={"negative_slope": _number, "inplace": _flag}),
    "Hardtanh": LayerKind(settings={"min_val": _number, "max_val": _number, "inplace": _flag}),
    "Softplus": LayerKind(settings={"beta": _number, "threshold": _number}),
    "PReLU": LayerKind(
        settings={"num_parameters": _channels, "init": _number},
        tensors=lambda settings: {"weight": (settings["num_parameters"],)},
    ),
    "Softmax": _ALONG, "LogSoftmax": _ALONG,
    "ZeroPad2d": _PAD, "ReflectionPad2d": _PAD, "ReplicationPad2d": _PAD,
}  # fmt: skip
