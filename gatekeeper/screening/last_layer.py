"""Last layer: a class whose row of weights does not look like the other classes' rows.

Data-free. The row of a backdoor's target class often has a larger norm, mean or bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.network import Layer, layers
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.robust import robust_z, widened

_FEWEST = 4  # rows below which "the others" says nothing


@dataclass(frozen=True, kw_only=True)
class LastLayer:
    """Robust z of norm, mean and bias over the class rows."""

    threshold: float = 3.5  # robust standard deviations from the median of many classes
    most: int = 20

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Score the class rows.

        Raises:
            StepError: no layer gives the class scores.
        """
        head = next((layer for layer in layers(model) if layer.is_head), None)
        if head is None:
            message = f"no layer of {model.architecture} has one row for each class"
            raise StepError(message, hint="The other screens were run.")
        count = len(model.classes)
        if count < _FEWEST:
            message = f"{count} classes are too few to tell one from the others"
            return ScreenResult(score=None, outcome="not-run", message=message), []
        scores = {name: robust_z(values) for name, values in _statistics(head).items()}
        findings = [
            self._finding(model, head.name, name, unit, float(values[unit]))
            for name, values in scores.items()
            for unit in (values.abs() > widened(self.threshold, count)).nonzero().flatten().tolist()
        ]
        findings.sort(key=lambda finding: -abs(finding.score or 0))
        message = f"{len(findings)} statistics of {count} class rows stand out"
        largest = max(float(values.abs().max()) for values in scores.values())
        result = ScreenResult(score=largest, outcome="not-flagged", message=message)
        return result, findings[: self.most]

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
            threshold=widened(self.threshold, len(model.classes)),
            message=f"the {statistic} of the row of class {model.classes[unit]!r} lies "
            f"{score:+.1f} robust deviations from the median",
        )


def _statistics(head: Layer) -> dict[str, Tensor]:
    """(classes,) each: norm and mean of the rows of weights, and the bias where there is one."""
    rows = head.weight.double().cpu().flatten(start_dim=1)  # (classes, features)
    statistics = {"norm": torch.linalg.vector_norm(rows, dim=1), "mean": rows.mean(dim=1)}
    if isinstance(bias := getattr(head.module, "bias", None), Tensor):
        statistics["bias"] = bias.detach().double().cpu()
    return statistics
