"""`gatekeeper calibrate`: moves the bound of suspicion to an organisation's own clean networks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from gatekeeper.assessing import assess
from gatekeeper.calibration import (
    ALLOWED,
    OWN,
    Calibration,
    Reference,
    left_out_alarms,
    rate,
    read_calibration,
    threshold,
)
from gatekeeper.errors import CardError, GatekeeperError, UsageError
from gatekeeper.job import Job
from gatekeeper.pipeline import begin, check, take
from gatekeeper.planning import plan
from gatekeeper.records import ScreenResult
from gatekeeper.rundir import RunDirectory

_SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".bin", ".safetensors")
_LOOKED = ("read", "screen")  # steps
_FEWEST = 3  # networks below which their scores say nothing of the next one
_SURE = round(1 / ALLOWED) - 1  # networks from which on the bound may also fall
_MOST_CLASSES = 1_000_000
Scores = dict[tuple[str, ...], float]  # of one network, by the screens that it is seen without


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What was used and what was left out; `file` holds the result."""

    file: Path
    scores: dict[str, Scores]  # by model
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
        UsageError: no folder, a file in the way, no data, or too few networks that can be scored.
    """
    if not models.is_dir():
        message = f"{models} is no folder"
        raise UsageError(message, hint="Give a folder of networks that are known to be clean.")
    if out.exists():
        message = f"{out} exists"
        raise UsageError(message, hint="Remove it, or choose another --out.")
    files = sorted(p for p in models.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
    # Told before hours of work, and not after them.
    room = RunDirectory(out.resolve().parent)
    if not room.path.is_dir():
        message = f"there is no folder {room.path} to write {out.name} into"
        raise UsageError(message, hint="Make it, or choose another --out.")
    _see_images(files, given)
    before = read_calibration()
    scores: dict[str, Scores] = {}
    counts = set(before.classes)
    left_out: dict[str, str] = {}
    for number, path in enumerate(files, start=1):
        name = str(path.relative_to(models))
        tell(f"{number} of {len(files)}: {name}")
        try:
            found, count, why = _screened(path, given, before)
        except GatekeeperError as error:
            left_out[name] = f"{error}. {error.hint}".strip()
            continue
        if why or not found:
            left_out[name] = why or "no score"
        else:
            scores[name] = found
            counts.add(count)
    if len(scores) < _FEWEST:
        message = f"only {len(scores)} of {len(files)} networks under {models} can be scored"
        reasons = "; ".join(f"{name}: {why}" for name, why in [*left_out.items()][:3])
        hint = f"At least {_FEWEST} are needed. {reasons}".rstrip()
        raise UsageError(message, hint=hint)
    after = _moved(before, [*scores.values()], (min(counts), max(counts)))
    room.write_text(out.name, _written(after))
    return Recalibration(file=out, scores=scores, left_out=left_out, before=before, after=after)


def _see_images(files: Sequence[Path], given: Mapping[str, Any]) -> None:
    """Raise at once what would be told of every network: images that are not there."""
    for path in files[:1]:
        job = plan(path, **given)
        if job.data is None:
            message = "no clean images to screen the networks on"
            raise UsageError(message, hint="Give --data, or name them in gatekeeper.yaml.")
        with suppress(CardError):  # is told of the network that it belongs to
            check(job)


def _screened(
    path: Path, given: dict[str, Any], calibration: Calibration
) -> tuple[Scores, int, str]:
    """The scores of one network, its classes, and why they mean nothing where that is so."""
    # Networks with another number of classes are what a calibration of one's own is for.
    wide = _written(calibration.model_copy(update={"classes": (1, _MOST_CLASSES)}))
    with tempfile.TemporaryDirectory(prefix="gatekeeper-") as folder:
        file = Path(folder) / "calibration.yaml"
        file.write_text(wide, encoding="utf-8")
        job: Job = plan(path, **given, out=Path(folder) / "run")
        job = replace(job, policy="default", calibration=str(file))
        check(job)
        with RunDirectory.open(Path(job.out), resume=False) as room:
            work = begin(job, room, lambda _: None)
            told: list[str] = []
            for step in _LOOKED:
                take(step, work)
                told += work.notes.errors
            if not work.has_weights:
                return {}, 0, next(iter(told), "its weights could not be read")
            found = room.read_json("findings.json")
    why = "; ".join(found["assessment"]["why_inconclusive"])
    screens = TypeAdapter(dict[str, ScreenResult]).validate_python(found["screens"])
    return _scores(screens, found["num_classes"], calibration), found["num_classes"], why


def _written(calibration: Calibration) -> str:
    plain = calibration.model_dump(mode="json", exclude={"path", "sha256"})
    text: str = yaml.safe_dump(plain, sort_keys=False, width=100)
    return text


def _scores(screens: Mapping[str, ScreenResult], classes: int, calibration: Calibration) -> Scores:
    """The score as it is without the screens of each reference; none where one is missing."""
    names = tuple(map(str, range(classes)))
    scores = {}
    for reference in calibration.references:
        shown = {name: one for name, one in screens.items() if name not in reference.without}
        found = assess(shown, names, calibration)
        if found.score is not None and {*found.calibration.without} == {*reference.without}:
            scores[reference.without] = found.score
    return scores


def _moved(before: Calibration, found: Sequence[Scores], classes: tuple[int, int]) -> Calibration:
    """The same weights; bounds that the organisation's own networks stay below."""
    made = f"{len(found)} known-clean networks, {datetime.now(UTC).date()}, from {before.name}"
    references = [
        _shifted(one, [scores[one.without] for scores in found if one.without in scores])
        for one in before.references
    ]
    return before.model_copy(
        update={
            "name": OWN, "made": made, "classes": classes, "references": tuple(references),
        }
    )  # fmt: skip


def _shifted(before: Reference, clean: Sequence[float]) -> Reference:
    """Hold a reference against other clean networks; as it was where they are too few.

    A few networks may only raise the bound: that they all score low is no proof that the next one
    does. The rate is that of a bound drawn without the network that it is held against.
    """
    if len(clean) < _FEWEST:
        return before
    own = threshold(clean)
    sure = len(clean) >= _SURE
    bound = own if sure else max(own, before.threshold)
    alarms = left_out_alarms(clean)
    if not sure:
        alarms = [
            alarm and score >= before.threshold for alarm, score in zip(alarms, clean, strict=True)
        ]
    return before.model_copy(
        update={
            "threshold": bound,
            "clean": tuple(sorted(clean)),
            "false_alarms": rate(alarms),
            "detection": rate([score >= bound for score in before.backdoored]),
        }
    )


def told(done: Recalibration) -> str:
    """Say in a few lines what came of it."""
    after, before = done.after, done.before
    lines = [
        f"{len(done.scores)} networks scored, {len(done.left_out)} left out",
        *(f"  left out {name}: {why}" for name, why in done.left_out.items()),
    ]
    for own, shipped in zip(after.references, before.references, strict=True):
        lines += _bound(own, shipped)
    lines += [
        f"Written: {done.file}; name it in gatekeeper.yaml (calibration: FILE) or by --calibration",
    ]
    if len(done.scores) < _SURE:
        lines.insert(-1, f"Fewer than {_SURE} networks: the bound could rise, but not fall")
    return "\n".join(lines)


def _bound(own: Reference, shipped: Reference) -> list[str]:
    seen = f"seen without {' and '.join(own.without)}: " if own.without else ""
    if own == shipped:
        return [f"{seen}as shipped, since fewer than {_FEWEST} networks were seen so"]
    return [
        f"{seen}suspicious from {own.threshold:.2f} (shipped: {shipped.threshold:.2f})",
        f"  {own.detection.value:.1%} of the calibration's {own.detection.n} backdoored networks "
        f"are found there ({shipped.detection.value:.1%} where weights and bound had not seen "
        "their kind)",
    ]
