"""The short list of names that ordinary weights need; everything else is denied."""

from __future__ import annotations

from gatekeeper.candidate.numpy_calls import NUMBER_CLASSES

_BUILTINS = (
    "set", "frozenset", "bytearray", "complex", "slice", "range", "int", "float", "bool", "str",
    "bytes", "list", "dict", "tuple",
    "long", "unicode", "xrange",  # as protocol 2 calls int, str and range
)  # fmt: skip
_STORAGES = (
    "FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage",
    "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage", "ComplexFloatStorage",
    "ComplexDoubleStorage", "UntypedStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage",
)  # fmt: skip
_DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "complex32",
    "complex64",
    "complex128",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
)
# Harmless to make, but nothing that the gate can read: see `torchfile.py`.
_UNREAD = (
    "_utils._rebuild_qtensor", "_utils._rebuild_sparse_tensor",
    "_utils._rebuild_meta_tensor_no_storage", "per_tensor_affine", "per_channel_affine",
    "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "QUInt4x2Storage", "QUInt2x4Storage",
)  # fmt: skip
_NUMPY = (
    "multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer",
)  # fmt: skip

ALLOWED = frozenset(
    [
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "collections.deque",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._tensor._rebuild_from_type_v2",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.Tensor",
        "torch.Size",
        "torch.device",
        "torch.torch_version.TorchVersion",
        "torch.storage.UntypedStorage",
        "torch.serialization._get_layout",
        "numpy.dtype",
        "numpy.ndarray",
        "_codecs.encode",
        "argparse.Namespace",
        "datetime.datetime",
        "datetime.date",
        "datetime.timedelta",
        "datetime.time",
        "datetime.timezone",
        # Python 3.13 pickles paths by the room that they were in.
        *(
            f"{room}.{name}"
            for room in ("pathlib", "pathlib._local")
            for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
        ),
        *(f"{room}.{name}" for room in ("builtins", "__builtin__") for name in _BUILTINS),
        *(f"torch.{name}" for name in (*_STORAGES, *_DTYPES, *_UNREAD)),
        *(f"torch.cuda.{name}" for name in _STORAGES),
        *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in _NUMPY),
        *NUMBER_CLASSES,
    ]
)
_ROOMS = ("builtins", "__builtin__")
_MAPPINGS = frozenset(
    {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
    | {f"{room}.dict" for room in _ROOMS}
)
_SEQUENCES = frozenset(
    {"collections.deque"} | {f"{room}.{kind}" for room in _ROOMS for kind in ("list", "set")}
)
_KNOWN = ("torch.nn.", "torchvision.models.", "torchvision.ops.")
# What a layer keeps to be asked later; any other function of these libraries may do anything.
_ACTIVATIONS = frozenset(
    f"torch.nn.functional.{name}"
    for name in (
        "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
        "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu",
        "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh", "tanhshrink",
    )
)  # fmt: skip
# What makes classes; an object of theirs runs what it was given.
METACLASSES = ("torch.nn.parameter._ParameterMeta", "torch.nn.parameter._BufferMeta")
_MODULES = (*_KNOWN, "timm.models.", "timm.layers.")
# How joblib marks that raw numbers follow in the midst of a pickle.
JOBLIB = frozenset(
    {"joblib.numpy_pickle.NumpyArrayWrapper"}
    | {f"joblib.numpy_pickle_compat.{name}" for name in ("NDArrayWrapper", "ZNDArrayWrapper")}
)


def is_allowed(name: str) -> bool:
    """Tell whether a pickle of weights may name this."""
    return name in ALLOWED


def is_module_name(name: str) -> bool:
    """Tell whether this names a part of a network, which a whole-module pickle is made of."""
    return name.startswith(_MODULES)


def is_class_or_activation(name: str) -> bool:
    """Tell whether this is called like a class, where it is of a library whose layers are read."""
    leaf = name.rpartition(".")[2].lstrip("_")
    return not is_known_module(name) or leaf[:1].isupper() or name in _ACTIVATIONS


def may_hold(name: str, *, mapping: bool) -> bool:
    """Tell whether what `name` makes is a dict or a list, or is never accepted whatever it is."""
    known = is_allowed(name) or is_known_module(name)
    return not known or name in (_MAPPINGS if mapping else _SEQUENCES)


def is_known_module(name: str) -> bool:
    """Tell whether this belongs to a library whose layers are read from their state alone."""
    return name.startswith(_KNOWN)
