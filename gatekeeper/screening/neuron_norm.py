"""Neuron norm: units whose weights are much larger than their layer's.

Data-free. Backdoored units often have large norms; clean networks have large units too, so a
finding names a unit and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.model import Model
from gatekeeper.network import unfolded, unit_norms, walk
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.units import outliers


@dataclass(frozen=True, kw_only=True)
class NeuronNorm:
    """Robust z of each unit's norm within its layer, BatchNorm folded in."""

    threshold: float = 5.0  # robust standard deviations above the median of a wide layer
    most_per_layer: int = 10
    most: int = 50

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score every layer; the strongest units become findings, the rest is counted."""
        walked, wiring = walk(model)
        found = outliers(
            ((layer, unit_norms(model, layer)) for layer in walked),
            rule="norm-outlier", screen="neuron-norm", noun="norm",
            threshold=self.threshold, most_per_layer=self.most_per_layer, most=self.most,
        )  # fmt: skip
        message = "; ".join(filter(None, [found.message, unfolded(model, wiring)]))
        # Norms flag units; on the model as a whole they do not decide.
        result = ScreenResult(score=found.score, outcome="not-flagged", message=message)
        return result, found.findings
