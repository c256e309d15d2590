"""Neuron norm: units whose weights are much larger than their layer's.

Data-free. Backdoored units often have large norms; clean networks have large units too, so a
finding names a unit and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatekeeper.model import Model
from gatekeeper.network import Layer, unfolded, unit_norms, walk
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.robust import robust_z, widened


@dataclass(frozen=True, kw_only=True)
class NeuronNorm:
    """Robust z of each unit's norm within its layer, BatchNorm folded in."""

    threshold: float = 5.0  # robust standard deviations above the median of a wide layer
    most_per_layer: int = 10
    most: int = 50

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score every layer; the strongest units become findings, the rest is counted."""
        walked, wiring = walk(model)
        findings: list[Finding] = []
        largest, beyond, broken = 0.0, 0, 0
        for layer in walked:
            norms = unit_norms(model, layer)
            scores = robust_z(norms)
            largest = max(largest, float(scores.max()))
            broken += int((~norms.isfinite()).sum())
            far = self._far(layer, scores)
            beyond += len(far)
            findings += far[: self.most_per_layer]
        findings.sort(key=lambda finding: -(finding.score or 0))
        kept = findings[: self.most]
        listed = f", the strongest {len(kept)} are listed" if beyond > len(kept) else ""
        parts = [
            f"{beyond} units of {len(walked)} layers stand out{listed}",
            f"{broken} units are not finite and were left out" if broken else "",
            unfolded(model, wiring),
        ]
        message = "; ".join(part for part in parts if part)
        # Norms flag units; on the model as a whole they do not decide.
        return ScreenResult(score=largest, outcome="not-flagged", message=message), kept

    def _far(self, layer: Layer, scores: Tensor) -> list[Finding]:
        """Findings for the units beyond the threshold, the strongest first."""
        threshold = widened(self.threshold, len(scores))
        order = scores.argsort(descending=True, stable=True).tolist()
        return [
            Finding(
                rule_id="norm-outlier",
                screen="neuron-norm",
                severity="low",
                layer=layer.name,
                unit=unit,
                score=float(scores[unit]),
                threshold=threshold,
                message=f"unit {unit} of {layer.name} has a norm {float(scores[unit]):.1f} robust "
                "deviations above its layer's median",
            )
            for unit in order
            if scores[unit] > threshold
        ]
