"""Draws the calibration that ships, and the summary of the screening benchmark, from its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import yaml
from calibration_fit import NAMES, Fit, Judged, auroc, fit, left_out, natures, shown
from environment import RESULTS

from gatekeeper.calibration import ALLOWED, rate, threshold
from gatekeeper.resources import bundled

PATH = RESULTS / "screening.json"
_SPECIAL = ("badnets-source", "badnets-all-to-all")
_HARDENED = ("repaired", "noisy")
# What large images, many classes or few images keep from running, alone and together.
_SEEN_WITHOUT: tuple[tuple[str, ...], ...] = (
    (), ("pair-inversion",), ("untargeted-inversion",), ("pair-inversion", "untargeted-inversion"),
)  # fmt: skip


def main() -> None:
    """Write `calibration/default.yaml`, and `summary` and `scores` into the benchmark's results."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    rows = [row for row in content["rows"] if row["kind"] in ("clean", "backdoored")]
    judged = left_out(rows)
    shipped = _calibration(rows)
    place = bundled("calibration") / "default.yaml"
    text = yaml.safe_dump(shipped, sort_keys=False, width=100, default_flow_style=None)
    head = "# Written by benchmarks/calibrate_zoo.py from results/screening.json.\n"
    place.write_text(head + text, encoding="utf-8")
    content["summary"] = _summary(rows, judged)
    content["scores"] = {
        row["member"]: round(one.score, 4) for row, one in zip(rows, judged, strict=True)
    }
    PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["summary"], indent=1))


def _calibration(rows: list[dict[str, Any]]) -> dict[str, Any]:
    known = fit(rows)
    made = f"{len(rows)} networks of benchmarks/zoo.py, {datetime.now(UTC).date()}"
    return {
        "name": "zoo",
        "made": made,
        "classes": [min(row["classes"] for row in rows), max(row["classes"] for row in rows)],
        "evidence": {
            name: {
                "weight": round(weight, 4),
                "usual": round(known.usual[name], 4),
                "clean_high": round(known.clean_high[name], 4),
            }
            for name, weight in known.weights.items()
            if weight > 0
        },
        "references": [
            _reference(rows, known, without, natural=natural)
            for natural in (False, True)
            for without in _SEEN_WITHOUT
        ],
    }


def _reference(
    rows: list[dict[str, Any]], known: Fit, without: tuple[str, ...], *, natural: bool
) -> dict[str, Any]:
    """Score all networks as a scan does, as if these screens had not run, and draw the bound.

    With `natural` they are held against clean networks of the same data and of other families. The
    rates are those of families that neither weights nor bound have seen.
    """
    usual = natures(rows) if natural else {}
    scores = {
        kind: sorted(
            round(known.score(shown(row, without, usual.get(row["member"])), row["classes"]), 4)
            for row in rows
            if row["kind"] == kind
        )
        for kind in ("clean", "backdoored")
    }
    judged = left_out(rows, without=without, natural=natural)
    suspected = {
        kind: [one.suspected for row, one in zip(rows, judged, strict=True) if row["kind"] == kind]
        for kind in ("clean", "backdoored")
    }
    return {
        "without": list(without),
        "natural": natural,
        "threshold": threshold(scores["clean"]),
        **scores,
        "false_alarms": _rate(suspected["clean"]),
        "detection": _rate(suspected["backdoored"]),
    }


def _in_short(rows: list[dict[str, Any]], judged: list[Judged]) -> dict[str, Any]:
    """Say what the score is worth where clean networks of the same task are known."""
    by_kind = _by_kind(rows, judged)
    low, high = _auroc_interval(rows, [one.score for one in judged])
    return {
        "auroc": round(auroc(by_kind["clean"], by_kind["backdoored"]), 4),
        "auroc_low": round(low, 4),
        "auroc_high": round(high, 4),
        "rates": _rates(rows, judged),
    }


def _by_kind(rows: list[dict[str, Any]], judged: list[Judged]) -> dict[str, list[float]]:
    return {
        kind: [one.score for one, row in zip(judged, rows, strict=True) if row["kind"] == kind]
        for kind in ("clean", "backdoored")
    }


def _summary(rows: list[dict[str, Any]], judged: list[Judged]) -> dict[str, Any]:
    """Say what the score is worth: on families that neither weights nor bound have seen."""
    flagged = [one.suspected for one in judged]
    scores = [one.score for one in judged]
    kinds = [row["kind"] for row in rows]
    by_kind = _by_kind(rows, judged)
    low, high = _auroc_interval(rows, scores)
    rates = _rates(rows, judged)
    return {
        "networks": len(rows),
        "backdoored": kinds.count("backdoored"),
        "auroc": round(auroc(by_kind["clean"], by_kind["backdoored"]), 4),
        "auroc_low": round(low, 4),
        "auroc_high": round(high, 4),
        "auroc_by_evidence": _alone(rows),
        **{name: one["value"] for name, one in rates.items()},
        "rates": rates,
        "by_attack": {
            attack: _of(
                rows, flagged,
                lambda row, a=attack: row["kind"] == "backdoored" and row["attack"] == a,
            )
            for attack in sorted({row["attack"] for row in rows if row["kind"] == "backdoored"})
        },
        "seconds_median": round(median(_timed(rows)), 1),
        "seconds_by_classes": _seconds(rows),
        "allowed_false_alarms": ALLOWED,
        "with_known_networks": _in_short(rows, left_out(rows, natural=True)),
    }  # fmt: skip


def _rates(rows: list[dict[str, Any]], judged: list[Judged]) -> dict[str, Any]:
    flagged = [one.suspected for one in judged]
    return {
        "detection_rate": _of(rows, flagged, lambda row: row["kind"] == "backdoored"),
        "detection_single_target": _of(
            rows, flagged, lambda row: row["kind"] == "backdoored" and row["attack"] not in _SPECIAL
        ),
        "detection_single_target_not_adaptive": _of(
            rows, flagged,
            lambda row: row["kind"] == "backdoored"
            and row["attack"] not in (*_SPECIAL, "adaptive"),
        ),
        "detection_source_or_all_to_all": _of(
            rows, flagged, lambda row: row["kind"] == "backdoored" and row["attack"] in _SPECIAL
        ),
        "false_alarm_rate": _of(rows, flagged, lambda row: row["kind"] == "clean"),
        "false_alarm_rate_repaired_or_noisy": _of(
            rows, flagged, lambda row: row["kind"] == "clean" and row["way"] in _HARDENED
        ),
        "target_accuracy": _targets(rows, judged),
    }  # fmt: skip


def _of(rows: list[dict[str, Any]], flagged: list[bool], which: Any) -> dict[str, Any]:
    return _rate([flag for row, flag in zip(rows, flagged, strict=True) if which(row)])


def _rate(hits: Sequence[bool]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in rate(hits).model_dump().items()}


def _auroc_interval(rows: list[dict[str, Any]], scores: list[float]) -> tuple[float, float]:
    """95 % interval, drawn again with families as a whole (percentile bootstrap)."""
    import numpy as np

    chance = np.random.default_rng(0)
    families = sorted({row["family"] for row in rows})
    found = []
    for _ in range(2000):
        drawn = chance.choice(families, len(families))
        parts = [
            (row["kind"], score)
            for family in drawn
            for row, score in zip(rows, scores, strict=True)
            if row["family"] == family
        ]
        chosen = [parts[k] for k in chance.integers(0, len(parts), len(parts))]
        clean = [score for kind, score in chosen if kind == "clean"]
        bad = [score for kind, score in chosen if kind == "backdoored"]
        if clean and bad:
            found.append(auroc(clean, bad))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _alone(rows: list[dict[str, Any]]) -> dict[str, float]:
    """AUROC of each piece of evidence, and of the unit screens, by itself."""
    bad = [row["kind"] == "backdoored" for row in rows]
    columns: dict[str, list[float | None]] = {
        name: [one.score for one in left_out(rows, use=(name,))] for name in NAMES
    }
    for name in ("neuron_norm", "channel_lipschitz", "last_layer"):
        columns[name] = [row[name] for row in rows]
    return {
        name: round(
            auroc(
                [v for v, b in zip(column, bad, strict=True) if v is not None and not b],
                [v for v, b in zip(column, bad, strict=True) if v is not None and b],
            ),
            4,
        )
        for name, column in columns.items()
    }


def _targets(rows: list[dict[str, Any]], judged: list[Judged]) -> dict[str, Any]:
    """How often the class that has most against it is the attack's, among detected attacks."""
    return _rate(
        [
            one.target == row["target"]
            for row, one in zip(rows, judged, strict=True)
            if row["kind"] == "backdoored" and one.suspected and row["target"] is not None
        ]
    )


def _timed(rows: list[dict[str, Any]]) -> list[float]:
    """Seconds for all screens, of the networks whose look was not interrupted."""
    return [sum(row["seconds"].values()) for row in rows if row["seconds"]]


def _seconds(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median over networks of the seconds for all screens, by number of classes."""
    return {
        str(classes): round(median(_timed([r for r in rows if r["classes"] == classes])), 1)
        for classes in sorted({row["classes"] for row in rows})
    }


if __name__ == "__main__":
    main()
