"""Channel Lipschitz: channels that may stretch their input far more than their layer's others.

Data-free (Zheng et al., Data-free Backdoor Removal based on Channel Lipschitzness, ECCV 2022). A
channel's bound is the largest singular value of its kernel, reshaped to (inputs, places), times the
scale of its BatchNorm. The paper compares with mean and standard deviation; here the median takes
their place, which one huge channel does not move. Of a linear layer or a 1x1 convolution the bound
is the norm, which the other screen looks at.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.model import Model
from gatekeeper.network import channel_bounds, unfolded, walk
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.units import outliers


@dataclass(frozen=True, kw_only=True)
class ChannelLipschitz:
    """Robust z of each channel's bound within its layer."""

    threshold: float = 5.0  # robust standard deviations above the median of a wide layer
    most_per_layer: int = 10
    most: int = 50

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score every convolution wider than one place; without any, the screen is not run."""
        walked, wiring = walk(model)
        wide = [
            layer for layer in walked if layer.kind == "conv" and layer.weight[0, 0].numel() > 1
        ]
        if not wide:
            message = f"no layer of {model.architecture} is a convolution over several places"
            return ScreenResult(score=None, outcome="not-run", message=message), []
        found = outliers(
            ((layer, channel_bounds(model, layer)) for layer in wide),
            rule="channel-outlier", screen="channel-lipschitz", noun="bound",
            threshold=self.threshold, most_per_layer=self.most_per_layer, most=self.most,
        )  # fmt: skip
        message = "; ".join(filter(None, [found.message, unfolded(model, wiring)]))
        result = ScreenResult(score=found.score, outcome="not-flagged", message=message)
        return result, found.findings
