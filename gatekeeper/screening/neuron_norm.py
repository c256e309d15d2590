"""Neuron norm: units whose weights are much larger than their layer's.

Data-free. Backdoored units often have large norms; clean networks have large units too, so a
finding names a unit and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.model import Model
from gatekeeper.network import Layer, layers, unit_norms
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.robust import robust_z


@dataclass(frozen=True, kw_only=True)
class NeuronNorm:
    """Robust z of each unit's norm within its layer, BatchNorm folded in."""

    threshold: float = 5.0  # robust standard deviations above the layer's median
    most_per_layer: int = 5
    most: int = 40

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score every layer; the strongest units become findings, the rest is counted."""
        findings: list[Finding] = []
        largest, beyond = 0.0, 0
        for layer in layers(model):
            scores = robust_z(unit_norms(model, layer).log1p())
            order = scores.argsort(descending=True).tolist()
            far = [unit for unit in order if scores[unit] > self.threshold]
            beyond += len(far)
            largest = max([largest, *(float(scores[unit]) for unit in far[:1])])
            findings += [
                self._finding(layer, unit, float(scores[unit]))
                for unit in far[: self.most_per_layer]
            ]
        findings.sort(key=lambda finding: -(finding.score or 0))
        kept = findings[: self.most]
        message = f"{beyond} units beyond {self.threshold:g} robust deviations, {len(kept)} listed"
        # Norms flag units; on the model as a whole they do not decide.
        result = ScreenResult(score=largest, outcome="not-flagged", message=message)
        return result, kept

    def _finding(self, layer: Layer, unit: int, score: float) -> Finding:
        return Finding(
            rule_id="norm-outlier",
            screen="neuron-norm",
            severity="low",
            layer=layer.name,
            unit=unit,
            score=score,
            threshold=self.threshold,
            message=f"unit {unit} of {layer.name} has a norm {score:.1f} robust deviations above "
            "its layer's median",
        )
