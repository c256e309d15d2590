"""`gatekeeper calibrate`: moves the bound of suspicion to an organisation's own clean networks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from gatekeeper.calibration import ALLOWED, Calibration, rate, read_calibration, threshold
from gatekeeper.errors import GatekeeperError, UsageError
from gatekeeper.job import Job
from gatekeeper.pipeline import begin, check, take
from gatekeeper.planning import plan
from gatekeeper.rundir import RunDirectory

_SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".bin", ".safetensors")
_LOOKED = ("read", "screen")  # steps
_FEWEST = 3  # networks below which their scores say nothing of the next one
_SURE = round(1 / ALLOWED) - 1  # networks from which on the bound may also fall


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What was used and what was left out; `file` holds the result."""

    file: Path
    scores: dict[str, float]  # by model
    left_out: dict[str, str]  # why, by model
    before: Calibration
    after: Calibration


def recalibrate(
    models: Path, out: Path, *, tell: Callable[[str], None] = lambda _: None, **given: Any
) -> Recalibration:
    """Screen every network under `models`, all known to be clean, and write a calibration.

    Args:
        models: folder; cards lie beside the models, or `card` is given for all.
        out: file to write.
        tell: hears one line of progress at a time.
        given: options of a scan: data, card, device, seed.

    Raises:
        UsageError: no folder, a file in the way, or too few networks that can be scored.
    """
    if not models.is_dir():
        message = f"{models} is no folder"
        raise UsageError(message, hint="Give a folder of networks that are known to be clean.")
    if out.exists():
        message = f"{out} exists"
        raise UsageError(message, hint="Remove it, or choose another --out.")
    files = sorted(path for path in models.rglob("*") if path.suffix in _SUFFIXES)
    scores: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for number, path in enumerate(files, start=1):
        name = str(path.relative_to(models))
        tell(f"{number} of {len(files)}: {name}")
        try:
            found = _screened(path, given)
        except UsageError:
            raise
        except GatekeeperError as error:
            left_out[name] = str(error)
            continue
        score, why = found
        if score is None or why:
            left_out[name] = why or "no score"
        else:
            scores[name] = score
    if len(scores) < _FEWEST:
        message = f"only {len(scores)} of {len(files)} networks under {models} can be scored"
        reasons = "; ".join(f"{name}: {why}" for name, why in [*left_out.items()][:3])
        hint = f"At least {_FEWEST} are needed. {reasons}".rstrip()
        raise UsageError(message, hint=hint)
    before = read_calibration()
    after = _moved(before, list(scores.values()))
    text = yaml.safe_dump(
        after.model_dump(mode="json", exclude={"path", "sha256"}), sort_keys=False, width=100
    )
    RunDirectory(out.resolve().parent).write_text(out.name, text)
    return Recalibration(file=out, scores=scores, left_out=left_out, before=before, after=after)


def _screened(path: Path, given: dict[str, Any]) -> tuple[float | None, str]:
    """The score of one network, and why it means nothing where that is so."""
    with tempfile.TemporaryDirectory(prefix="gatekeeper-") as folder:
        job: Job = replace(plan(path, **given, out=Path(folder) / "run"), policy="default")
        check(job)
        with RunDirectory.open(Path(job.out), resume=False) as room:
            work = begin(job, room, lambda _: None)
            for step in _LOOKED:
                take(step, work)
            if not work.has_weights:
                return None, "its weights could not be read"
            assessment = room.read_json("findings.json")["assessment"]
    missing = [one["name"] for one in assessment["evidence"] if one["value"] is None]
    why = "; ".join(assessment["why_inconclusive"])
    if missing:
        why = why or f"no {', '.join(missing)}"
    return assessment["score"], why


def _moved(before: Calibration, clean: list[float]) -> Calibration:
    """The same weights; a bound that the organisation's own networks stay below.

    A few networks may only raise it: that they all score low is no proof that the next one does.
    """
    own = threshold(clean)
    bound = own if len(clean) >= _SURE else max(own, before.threshold)
    made = f"{len(clean)} known-clean networks, {datetime.now(UTC).date()}, from {before.name}"
    return before.model_copy(
        update={
            "name": "own",
            "made": made,
            "threshold": bound,
            "clean": tuple(sorted(clean)),
            "false_alarms": rate([score >= bound for score in clean]),
            "detection": rate([score >= bound for score in before.backdoored]),
        }
    )


def told(done: Recalibration) -> str:
    """Say in a few lines what came of it."""
    after, before = done.after, done.before
    lines = [
        f"{len(done.scores)} networks scored, {len(done.left_out)} left out",
        *(f"  left out {name}: {why}" for name, why in done.left_out.items()),
        f"Suspicious from {after.threshold:.2f} (shipped: {before.threshold:.2f})",
        f"At this bound {after.detection.value:.1%} of the calibration's {after.detection.n} "
        f"backdoored networks are found (shipped: {before.detection.value:.1%})",
        f"Written: {done.file}; name it in gatekeeper.yaml (calibration: FILE) or by --calibration",
    ]
    if len(done.scores) < _SURE:
        lines.insert(-1, f"Fewer than {_SURE} networks: the bound could rise, but not fall")
    return "\n".join(lines)
