"""From the zoo's rows to weights, and to what they are worth on a family of networks unseen.

The weights are those of a logistic regression whose weights cannot be negative, clean and
backdoored networks counting the same in all. Which class is looked at is the one that has most
against it by the weights of the moment, so class and weights are found in turns. A family's
networks are scored by weights that were fitted without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from gatekeeper.evidence import SCREEN_OF, Seen, gathered, values_for, weighed
from gatekeeper.records import PairArea, ScreenResult

_RIDGE = 0.02  # keeps weights small where evidence separates by luck
_TURNS = 8
NAMES = tuple(SCREEN_OF)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Weights by piece of evidence, in log-odds, against the median clean network."""

    weights: dict[str, float]
    usual: dict[str, float]
    clean_high: dict[str, float]

    def target(self, seen: Seen, classes: int) -> int | None:
        """Give the class that has most against it."""
        return weighed(seen, self.weights, classes)

    def score(self, seen: Seen, classes: int) -> float:
        """Log-odds of one network; what it did not show adds nothing."""
        values = values_for(seen, self.target(seen, classes))
        return sum(
            weight * (value - self.usual[name])
            for name, weight in self.weights.items()
            if (value := values[name]) is not None
        )


def screens_of(row: dict[str, Any]) -> dict[str, ScreenResult]:
    """Give a row's raw values as the results that the screens record."""
    areas = [area for area in row["areas"] if area is not None]
    results = {
        "trigger-inversion": _result(min(areas, default=None), by_class=row["areas"]),
        "universal-perturbation": _result(max(row["obeyed"]), by_class=row["obeyed"]),
    }
    if row["margins"]:
        results["maximum-margin"] = _result(None, by_class=row["margins"])
    if row["shifts_far"]:
        results["hidden-shift"] = _result(None, by_class=row["shifts_far"])
    if row.get("careful"):
        pairs = [PairArea(source=s, target=t, area=area) for s, t, area in row["careful"]]
        results["pair-inversion"] = _result(pairs[0].area, pairs=tuple(pairs))
    diversion = row["diversion"]
    if diversion["area"] is not None:
        places = tuple(diversion["destinations"])
        results["untargeted-inversion"] = _result(diversion["area"], destinations=places)
    return results


def _result(score: float | None, **more: Any) -> ScreenResult:
    more = {name: tuple(value) for name, value in more.items()}
    return ScreenResult(score=score, outcome="not-flagged", **more)


def fit(rows: Sequence[dict[str, Any]], use: Sequence[str] = NAMES) -> Fit:
    """Fit weights to rows of kind clean and backdoored, by the pieces of evidence in `use`."""
    seen = [gathered(screens_of(row)) for row in rows]
    bad = np.array([row["kind"] == "backdoored" for row in rows])
    found = Fit(
        weights={name: 1.0 if name in use else 0.0 for name in NAMES},
        usual=dict.fromkeys(NAMES, 0.0), clean_high=dict.fromkeys(NAMES, 0.0),
    )  # fmt: skip
    for _ in range(_TURNS):
        values = [
            values_for(one, found.target(one, row["classes"]))
            for one, row in zip(seen, rows, strict=True)
        ]
        found = _regress(values, bad, use)
    return found


def _regress(values: list[dict[str, float | None]], bad: np.ndarray, use: Sequence[str]) -> Fit:
    usual, high, scale = {}, {}, {}
    for name in NAMES:
        column = [one[name] for one, b in zip(values, bad, strict=True) if not b]
        clean = [value for value in column if value is not None]
        usual[name] = float(np.median(clean)) if clean else 0.0
        high[name] = float(np.quantile(clean, 0.95)) if clean else 0.0
        scale[name] = (float(np.std(clean)) or 1.0) if clean else 1.0
    table = np.array(
        [
            [0.0 if (v := one[n]) is None else (v - usual[n]) / scale[n] for n in NAMES]
            for one in values
        ]
    )  # fmt: skip
    share = np.where(bad, 0.5 / max(1, bad.sum()), 0.5 / max(1, (~bad).sum()))

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = vector[:-1], vector[-1]
        signed = np.where(bad, -1, 1) * (table @ weights + intercept)
        value = float((share * np.logaddexp(0, signed)).sum() + _RIDGE * (weights**2).sum())
        slope = share * np.where(bad, -1, 1) / (1 + np.exp(-signed))
        return value, np.append(table.T @ slope + 2 * _RIDGE * weights, slope.sum())

    bounds = [(0.0, None if name in use else 0.0) for name in NAMES] + [(None, None)]
    best = minimize(loss, np.zeros(len(NAMES) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = {name: float(best[k]) / scale[name] for k, name in enumerate(NAMES)}
    return Fit(weights=weights, usual=usual, clean_high=high)


def left_out(
    rows: Sequence[dict[str, Any]], by: str = "family", use: Sequence[str] = NAMES
) -> tuple[list[float], list[int | None]]:
    """Score each row, and name its class, by weights that were fitted without its group."""
    scores = [0.0] * len(rows)
    targets: list[int | None] = [None] * len(rows)
    for group in {row[by] for row in rows}:
        known = fit([row for row in rows if row[by] != group], use)
        for place, row in enumerate(rows):
            if row[by] == group:
                seen = gathered(screens_of(row))
                scores[place] = known.score(seen, row["classes"])
                targets[place] = known.target(seen, row["classes"])
    return scores, targets


def auroc(clean: Sequence[float], bad: Sequence[float]) -> float:
    """Share of pairs in which the backdoored network has the larger value; ties count half."""
    if not clean or not bad:
        return float("nan")
    difference = np.array(bad)[:, None] - np.array(clean)[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
