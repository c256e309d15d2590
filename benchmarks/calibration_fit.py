"""From the zoo's rows to weights and a threshold, and to what they are worth on a family unseen.

The weights are those of a logistic regression whose weights cannot be negative, clean and
backdoored networks counting the same in all. A family's networks are scored by weights that were
fitted without it; so are the scores that the threshold is drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from gatekeeper.evidence import PIECES, gathered
from gatekeeper.records import PairArea, ScreenResult

_RIDGE = 0.02  # keeps weights small where evidence separates by luck


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Weights by piece of evidence, in log-odds, against the median clean network."""

    weights: dict[str, float]
    usual: dict[str, float]
    clean_high: dict[str, float]

    def score(self, seen: dict[str, float | None]) -> float:
        """Log-odds of one network; what it did not show adds nothing."""
        return sum(
            weight * (value - self.usual[name])
            for name, weight in self.weights.items()
            if (value := seen[name]) is not None
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
    if row["shifts_near"]:
        results["hidden-shift"] = _result(None, by_class=row["shifts_near"])
    if row["pairs"]:
        pairs = [PairArea(source=s, target=t, area=area) for s, t, area in row["pairs"][:400]]
        results["pair-inversion"] = _result(pairs[0].area, pairs=tuple(pairs))
    diversion = row["diversion"]
    if diversion["area"] is not None:
        places = tuple(diversion["destinations"])
        results["untargeted-inversion"] = _result(diversion["area"], destinations=places)
    return results


def _result(score: float | None, **more: Any) -> ScreenResult:
    more = {name: tuple(value) for name, value in more.items()}
    return ScreenResult(score=score, outcome="not-flagged", **more)


def seen_in(row: dict[str, Any]) -> dict[str, float | None]:
    """Give the evidence of a row."""
    pieces = gathered(screens_of(row))
    return {name: piece.value if piece is not None else None for name, piece in pieces.items()}


def fit(rows: Sequence[dict[str, Any]]) -> Fit:
    """Fit weights to rows of kind clean and backdoored."""
    seen = [seen_in(row) for row in rows]
    bad = np.array([row["kind"] == "backdoored" for row in rows])
    names = list(PIECES)
    usual, high, scale = {}, {}, {}
    for name in names:
        clean = [s[name] for s, b in zip(seen, bad, strict=True) if s[name] is not None and not b]
        usual[name] = float(np.median(clean)) if clean else 0.0
        high[name] = float(np.quantile(clean, 0.95)) if clean else 0.0
        scale[name] = float(np.std(clean)) or 1.0 if clean else 1.0
    table = np.array(
        [
            [0.0 if s[n] is None else (s[n] - usual[n]) / scale[n] for n in names]
            for s in seen
        ]
    )  # fmt: skip
    table = np.clip(table, -6, 12)
    share = np.where(bad, 0.5 / max(1, bad.sum()), 0.5 / max(1, (~bad).sum()))

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = vector[:-1], vector[-1]
        odds = table @ weights + intercept
        signed = np.where(bad, -odds, odds)
        value = float((share * np.logaddexp(0, signed)).sum() + _RIDGE * (weights**2).sum())
        slope = share * np.where(bad, -1, 1) / (1 + np.exp(-signed))
        return value, np.append(table.T @ slope + 2 * _RIDGE * weights, slope.sum())

    bounds = [(0.0, None)] * len(names) + [(None, None)]
    found = minimize(loss, np.zeros(len(names) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = {name: float(found[k]) / scale[name] for k, name in enumerate(names)}
    return Fit(weights=weights, usual=usual, clean_high=high)


def left_out(rows: Sequence[dict[str, Any]], by: str = "family") -> list[float]:
    """Score each row by weights that were fitted without its group."""
    scores = [0.0] * len(rows)
    for group in {row[by] for row in rows}:
        known = fit([row for row in rows if row[by] != group])
        for place, row in enumerate(rows):
            if row[by] == group:
                scores[place] = known.score(seen_in(row))
    return scores


def auroc(clean: Sequence[float], bad: Sequence[float]) -> float:
    """Share of pairs in which the backdoored network has the larger value; ties count half."""
    if not clean or not bad:
        return float("nan")
    difference = np.array(bad)[:, None] - np.array(clean)[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
