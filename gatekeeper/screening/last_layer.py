"""Last layer: a class whose row of weights does not look like the other classes' rows.

Data-free. The row of a backdoor's target class often has a larger norm, mean or bias.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.network import layers
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.robust import robust_z


@dataclass(frozen=True, kw_only=True)
class LastLayer:
    """Robust z of norm, mean and bias over the class rows."""

    threshold: float = 4.0  # robust standard deviations from the median, above or below

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score the class rows.

        Raises:
            StepError: no layer gives the class scores.
        """
        head = next((layer for layer in layers(model) if layer.is_head), None)
        if head is None:
            message = f"no layer of {model.architecture} has one row for each class"
            raise StepError(message, hint="The other screens were run.")
        rows = head.weight.double().cpu().flatten(start_dim=1)  # (classes, features)
        statistics = {"norm": rows.norm(dim=1), "mean": rows.mean(dim=1)}
        bias = getattr(head.module, "bias", None)
        if isinstance(bias, Tensor):
            statistics["bias"] = bias.detach().double().cpu()
        findings: list[Finding] = []
        largest = 0.0
        for name, values in statistics.items():
            scores = robust_z(values)
            largest = max(largest, float(scores.abs().max()))
            findings += [
                self._finding(model, head.name, name, unit, float(scores[unit]))
                for unit in (scores.abs() > self.threshold).nonzero().flatten().tolist()
            ]
        message = f"{len(findings)} class rows beyond {self.threshold:g} robust deviations"
        return ScreenResult(score=largest, outcome="not-flagged", message=message), findings

    def _finding(
        self, model: Model, layer: str, statistic: str, unit: int, score: float
    ) -> Finding:
        return Finding(
            rule_id="class-row-outlier",
            screen="last-layer",
            severity="low",
            layer=layer,
            unit=unit,
            score=score,
            threshold=self.threshold,
            message=f"the {statistic} of the row of class {model.classes[unit]!r} lies "
            f"{score:+.1f} robust deviations from the median",
        )
