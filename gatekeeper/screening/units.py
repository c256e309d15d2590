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


def outliers(
    measured: Iterable[tuple[Layer, Tensor]],
    *,
    rule: str,
    screen: str,
    noun: str,
    threshold: float,
    most_per_layer: int,
    most: int,
) -> Outliers:
    """Compare the value of each unit with its layer's others.

    Args:
        measured: layers, and the values (units,) of each.
        rule: of the findings.
        screen: that asks.
        noun: what the value is called.
        threshold: robust standard deviations above the median of a wide layer.
        most_per_layer: findings of one layer.
        most: findings in all.
    """
    found: list[Finding] = []
    largest, beyond, broken, count = 0.0, 0, 0, 0
    for layer, values in measured:
        scores = robust_z(values)
        largest = max(largest, float(scores.max()))
        broken += int((~values.isfinite()).sum())
        bound = widened(threshold, len(scores))
        order = scores.argsort(descending=True, stable=True).tolist()
        far = [unit for unit in order if scores[unit] > bound]
        beyond += len(far)
        count += 1
        found += [
            Finding(
                rule_id=rule, screen=screen, severity="low", layer=layer.name, unit=unit,
                score=float(scores[unit]), threshold=bound,
                message=f"unit {unit} of {layer.name} has a {noun} {float(scores[unit]):.1f} "
                "robust deviations above its layer's median",
            )
            for unit in far[:most_per_layer]
        ]  # fmt: skip
    found.sort(key=lambda finding: -(finding.score or 0))
    return Outliers(
        findings=found[:most], score=largest, beyond=beyond, broken=broken, layers=count
    )
