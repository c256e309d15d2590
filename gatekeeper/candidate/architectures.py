"""Names to networks, and tensors to names: which known network do these tensors fit?"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.errors import CardError
from gatekeeper.records import InputSpec

Shapes = Mapping[str, tuple[int, ...]]

# A tensor that only this family has -> how its builders' names begin.
_FAMILIES = {
    "layer1.0.conv1.weight": ("resnet", "resnext", "wide_resnet"),
    "features.conv0.weight": ("densenet",),
    "features.0.weight": ("vgg", "alexnet", "squeezenet"),
    "features.0.0.weight": ("mobilenet", "efficientnet", "convnext", "swin"),
    "conv_proj.weight": ("vit",),
    "stem.0.weight": ("regnet", "maxvit"),
    "stem.0.0.weight": ("maxvit",),
    "conv1.0.weight": ("shufflenet",),
    "conv1.conv.weight": ("googlenet",),
    "Conv2d_1a_3x3.conv.weight": ("inception",),
    "layers.0.weight": ("mnasnet",),
}
_HEADS = re.compile(r"^(fc|head|heads\.head|heads|classifier|classifier\.\d+)\.weight$")
_DRAWS = frozenset(
    {"normal_", "uniform_", "fill_", "zero_", "trunc_normal_", "kaiming_normal_"}
    | {"kaiming_uniform_", "xavier_normal_", "xavier_uniform_", "constant_"}
)
# These two draw their first weights by a slow sampler unless told not to.
_SLOW_START = ("googlenet", "inception_v3")


def build(name: str, spec: InputSpec, num_classes: int, *, trusted: bool) -> nn.Module:
    """Build the network `name` with fresh weights.

    `name` is `gatekeeper:NAME`, `torchvision:NAME`, `timm:NAME`, or, where the card is the
    operator's own, `FILE.py:FACTORY`.

    Raises:
        CardError: there is no such network, or the name is code and the card is not trusted.
    """
    kind, _, rest = name.partition(":")
    if name in BUILT_IN:
        return BUILT_IN[name](*spec.size, num_classes)
    if kind == "torchvision":
        return _torchvision(rest, num_classes)
    if kind == "timm":
        return _timm(rest, spec, num_classes)
    file, _, factory = name.rpartition(":")
    if file.endswith(".py") and factory:
        if not trusted:
            message = f"{name} is code from a card that you did not give"
            raise CardError(message, hint="Read it, and give your own card with --card FILE.")
        return _from_file(Path(file), factory, num_classes)
    message = f"no architecture {name!r}"
    if name in _torchvision_names():
        message += f"; did you mean torchvision:{name}?"
    hint = f"Use torchvision:NAME, timm:NAME, FILE.py:FACTORY, or {', '.join(BUILT_IN)}."
    raise CardError(message, hint=hint)


def infer(shapes: Shapes) -> list[str]:
    """Name the known networks whose tensors are exactly these; the simplest name first."""
    spec = InputSpec(size=(channels_of(shapes), 32, 32), mean=(), std=())
    fits = []
    for name in _likely(shapes):
        try:
            with weightless():
                network = build(name, spec, classes_of(shapes), trusted=False)
        except (CardError, ValueError, TypeError, RuntimeError, NotImplementedError):
            continue
        if _same(network, shapes):
            fits.append(name)
    return sorted(fits, key=lambda name: (len(name), name))


@contextmanager
def weightless() -> Iterator[None]:
    """Build networks whose parameters take no memory; buffers are real, as some are computed."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        if weight is not None:
            weight = nn.Parameter(weight.to("meta"), requires_grad=weight.requires_grad)
        register(module, name, weight)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign,assignment]
    try:
        with _Undrawn():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


class _Undrawn(TorchFunctionMode):
    """Draws no first weights where there is no memory to draw them into: it takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            tensor = args[0] if args else given.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **given)


def classes_of(shapes: Shapes) -> int:
    """Read the number of classes off the head's shape; 1000 where no head is recognised."""
    heads = sorted(name for name in shapes if _HEADS.match(name) and len(shapes[name]) in (2, 4))
    return shapes[heads[-1]][0] if heads else 1000


def channels_of(shapes: Shapes) -> int:
    """Read the number of image channels off the first convolution that takes 1 or 3."""
    wanted = (shape[1] for shape in shapes.values() if len(shape) == 4 and shape[1] in (1, 3))
    return next(wanted, 3)


def _likely(shapes: Shapes) -> list[str]:
    from torchvision import models

    prefixes = {p for key, names in _FAMILIES.items() if key in shapes for p in names}
    known = [name for name in models.list_models(module=models) if "quantized" not in name]
    likely = [f"torchvision:{name}" for name in known if name.startswith(tuple(prefixes))]
    return [*likely, "gatekeeper:small-resnet", "gatekeeper:preact-resnet18"]


def _same(network: nn.Module, shapes: Shapes) -> bool:
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    wanted = {name: shape for name, shape in own.items() if name not in counters}
    given = {name: shape for name, shape in shapes.items() if name not in counters}
    return wanted == given


def _torchvision_names() -> list[str]:
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def _torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models

    if name not in _torchvision_names():
        message = f"torchvision has no classifier {name!r}"
        raise CardError(message, hint="See torchvision.models.list_models().")
    more = {"init_weights": False} if name in _SLOW_START else {}
    network: nn.Module = models.get_model_builder(name)(
        weights=None, num_classes=num_classes, **more
    )
    return network


def _timm(name: str, spec: InputSpec, num_classes: int) -> nn.Module:
    if set(name) & set(":/"):
        message = f"timm:{name} names a place to load from, not a network of timm's own"
        raise CardError(message, hint="Use a name from timm.list_models().")
    if importlib.util.find_spec("timm") is None:
        message = f"timm:{name} needs the package timm, which is not installed"
        raise CardError(message, hint="Install it beside the gate: python -m pip install timm")
    import timm

    # timm downloads what `hf-hub:OWNER/NAME` names, and reads what `local-dir:` does.
    if name not in timm.list_models():
        message = f"timm has no network {name!r}"
        raise CardError(message, hint="See timm.list_models(); no tags and no places.")
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=spec.size[0]
        )
    except RuntimeError as error:
        message = f"timm cannot build {name!r}: {error}"
        raise CardError(message) from None
    return network


def _from_file(path: Path, factory: str, num_classes: int) -> nn.Module:
    """Run the operator's own factory; it takes the number of classes where it takes anything."""
    spec = importlib.util.spec_from_file_location(f"gatekeeper_card_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        message = f"no Python file {path}"
        raise CardError(message, hint="The path counts from the card's own folder.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, factory)
        try:
            network = make(num_classes=num_classes)
        except TypeError:
            network = make()
    except Exception as error:
        message = f"{path}:{factory} failed: {type(error).__name__}: {error}"
        raise CardError(message, hint="Try the factory by hand in Python.") from error
    if not isinstance(network, nn.Module):
        message = f"{path}:{factory} gave a {type(network).__name__}, not a torch.nn.Module"
        raise CardError(message)
    return network
