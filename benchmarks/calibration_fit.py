"""From the zoo's rows to weights, and to what they are worth on a family of networks unseen.

The weights come from clean networks alone: a piece of evidence counts by how far it lies above the
median clean network, in units of the way from there to the ninth of ten. Which class is looked at
is the one that has most against it by the weights of the moment, so class and weights are found in
turns. A family's networks are judged by weights and a bound that were drawn without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatekeeper.calibration import threshold
from gatekeeper.evidence import SCREEN_OF, Seen, gathered, values_for, weighed
from gatekeeper.nature import Nature, nature_of, take_off
from gatekeeper.records import PairArea, ScreenResult

_TURNS = 5
_HIGH = 0.9  # of the clean networks lie below a span above the median
_LEAST_SPAN = 0.05
NAMES = tuple(SCREEN_OF)
# What counts; the others were tried on the zoo and did not earn their place.
USED = ("easier-than-leaving", "lone-trigger", "lone-margin", "closer-pair", "easier-to-leave")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Weights by piece of evidence, for what lies above the median clean network."""

    weights: dict[str, float]
    usual: dict[str, float]
    clean_high: dict[str, float]

    def target(self, seen: Seen, classes: int) -> int | None:
        """Give the class that has most against it."""
        return weighed(seen, self.weights, classes)

    def score(self, seen: Seen, classes: int) -> float:
        """Sum of what lies above the usual; what a network did not show adds nothing."""
        values = values_for(seen, self.target(seen, classes))
        return sum(
            weight * max(value - self.usual[name], 0.0)
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


def fit(rows: Sequence[dict[str, Any]], use: Sequence[str] = USED) -> Fit:
    """Draw weights from the clean ones among `rows`; evidence that is not in `use` gets none."""
    clean = [row for row in rows if row["kind"] == "clean"]
    seen = [gathered(screens_of(row)) for row in clean]
    weights = {name: 1.0 if name in use else 0.0 for name in NAMES}
    for _ in range(_TURNS):
        found = Fit(weights=weights, usual={}, clean_high={})
        values = [
            values_for(one, found.target(one, row["classes"]))
            for one, row in zip(seen, clean, strict=True)
        ]
        usual, high, spans = {}, {}, {}
        for name in NAMES:
            known = [one[name] for one in values]
            column = np.array([value for value in known if value is not None] or [0.0])
            usual[name], spans[name] = float(np.median(column)), float(np.quantile(column, _HIGH))
            high[name] = float(np.quantile(column, 0.95))
            spans[name] = max(spans[name] - usual[name], _LEAST_SPAN)
        weights = {name: 1 / spans[name] if name in use else 0.0 for name in NAMES}
    return Fit(weights=weights, usual=usual, clean_high=high)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One network, as families that it is no part of judge it; 1 is the bound among those."""

    score: float
    target: int | None

    @property
    def suspected(self) -> bool:
        """Whether it lies at the bound or above."""
        return self.score >= 1


def shown(row: dict[str, Any], without: Sequence[str], nature: Nature | None = None) -> Seen:
    """Give what a row shows, as if the screens of `without` had not run, beyond what is natural."""
    results = screens_of(row)
    if nature is not None:
        results = take_off(nature, results)
    return gathered({name: results[name] for name in results if name not in without})


def natures(rows: Sequence[dict[str, Any]], but: str = "") -> dict[str, Nature | None]:
    """Give by member what clean networks of its data show: of other families, and not `but`."""
    found = {}
    for data, family in {(row["data"], row["family"]) for row in rows}:
        alike = [row for row in rows if row["data"] == data]
        clean = [row for row in alike if row["kind"] == "clean"]
        others = [row for row in clean if row["family"] not in (family, but)]
        names = tuple(map(str, range(alike[0]["classes"])))
        nature = nature_of(names, [screens_of(row) for row in others], images=data)
        found |= {row["member"]: nature for row in alike if row["family"] == family}
    return found


def left_out(
    rows: Sequence[dict[str, Any]],
    by: str = "family",
    use: Sequence[str] = USED,
    without: Sequence[str] = (),
    *,
    natural: bool = False,
) -> list[Judged]:
    """Judge each row by weights and a bound that were drawn without its group.

    The weights are those of all screens; the rows are scored as if those of `without` had not run,
    and with `natural` beyond what clean networks of the same data show.
    """
    judged: dict[int, Judged] = {}
    for group in {row[by] for row in rows}:
        usual = natures(rows, group) if natural else {}
        seen = [shown(row, without, usual.get(row["member"])) for row in rows]
        others = [row for row in rows if row[by] != group]
        known = fit(others, use)
        clean = [
            known.score(one, row["classes"])
            for one, row in zip(seen, rows, strict=True)
            if row[by] != group and row["kind"] == "clean"
        ]
        bound = threshold(clean)
        for place, (one, row) in enumerate(zip(seen, rows, strict=True)):
            if row[by] == group:
                judged[place] = Judged(
                    score=known.score(one, row["classes"]) / max(bound, 1e-9),
                    target=known.target(one, row["classes"]),
                )
    return [judged[place] for place in range(len(rows))]


def auroc(clean: Sequence[float], bad: Sequence[float]) -> float:
    """Share of pairs in which the backdoored network has the larger value; ties count half."""
    if not clean or not bad:
        return float("nan")
    difference = np.array(bad)[:, None] - np.array(clean)[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
