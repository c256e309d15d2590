"""Units that lie far above the others of their layer, as findings: the strongest, and how many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from gatekeeper.network import Layer
from gatekeeper.records import Finding
from gatekeeper.screening.robust import robust_z, widened


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """What stands out: the strongest `findings`, `beyond` in all, among units of `layers` layers.

    `score` is the largest robust z; `broken` units are not finite and were left out.
    """

    findings: list[Finding]
    score: float
    beyond: int
    broken: int
    layers: int

    @property
    def message(self) -> str:
        """Say how many there are."""
        kept = len(self.findings)
        listed = f", the strongest {kept} are listed" if self.beyond > kept else ""
        told = f"{self.beyond} units of {self.layers} layers stand out{listed}"
        left_out = f"; {self.broken} units are not finite and were left out" if self.broken else ""
        return told + left_out


@dataclass(frozen=True, kw_only=True)
class Flagger:
    """Flags units by a value of each, compared within their layer; `noun` names the value."""

    rule: str
    screen: str
    noun: str
    threshold: float  # robust standard deviations above the median of a wide layer
    most_per_layer: int
    most: int

    def __call__(self, measured: Iterable[tuple[Layer, Tensor]]) -> Outliers:
        """Compare the values (units,) of each layer."""
        findings: list[Finding] = []
        largest, beyond, broken, count = 0.0, 0, 0, 0
        for layer, values in measured:
            scores = robust_z(values)
            largest = max(largest, float(scores.max()))
            broken += int((~values.isfinite()).sum())
            far = self._far(layer, scores)
            beyond += len(far)
            findings += far[: self.most_per_layer]
            count += 1
        findings.sort(key=lambda finding: -(finding.score or 0))
        return Outliers(
            findings=findings[: self.most], score=largest, beyond=beyond, broken=broken,
            layers=count,
        )  # fmt: skip

    def _far(self, layer: Layer, scores: Tensor) -> list[Finding]:
        """Findings for the units beyond the threshold, the strongest first."""
        threshold = widened(self.threshold, len(scores))
        order = scores.argsort(descending=True, stable=True).tolist()
        return [
            Finding(
                rule_id=self.rule,
                screen=self.screen,
                severity="low",
                layer=layer.name,
                unit=unit,
                score=float(scores[unit]),
                threshold=threshold,
                message=f"unit {unit} of {layer.name} has a {self.noun} {float(scores[unit]):.1f} "
                "robust deviations above its layer's median",
            )
            for unit in order
            if scores[unit] > threshold
        ]
