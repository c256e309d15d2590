"""`gatekeeper calibrate`: moves the bound of suspicion to an organisation's own clean networks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from gatekeeper.calibration import Calibration, Reference, read_calibration
from gatekeeper.errors import CalibrationError, CardError, GatekeeperError, UsageError
from gatekeeper.job import Job
from gatekeeper.own_calibration import ALIKE, FEWEST, SURE, Screened, draw, scores_of
from gatekeeper.pipeline import begin, check, take
from gatekeeper.planning import plan
from gatekeeper.records import ScreenResult
from gatekeeper.rundir import RunDirectory, sha256_file

_SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".bin", ".safetensors", ".onnx")
_LOOKED = ("read", "screen")  # steps
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What was used and what was left out; `file` holds the result."""

    file: Path
    used: tuple[str, ...]  # models
    left_out: dict[str, str]  # why, by model
    before: Calibration
    after: Calibration
    crowded: int = 0  # tasks whose nature had no room in a file that is read again


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
    seen: dict[str, Screened] = {}
    left_out: dict[str, str] = {}
    digests: dict[str, str] = {}
    for number, path in enumerate(files, start=1):
        name = str(path.relative_to(models))
        tell(f"{number} of {len(files)}: {name}")
        try:
            first = digests.setdefault(sha256_file(path), name)
            if first != name:
                left_out[name] = f"the same file as {first}"
                continue
            shown, why = _screened(path, given, before)
        except GatekeeperError as error:
            left_out[name] = f"{error}. {error.hint}".strip()
            continue
        except OSError as error:
            left_out[name] = f"it cannot be read: {error.strerror}"
            continue
        if shown is None or why or not scores_of(shown, before):
            left_out[name] = why or "no score"
        else:
            seen[name] = shown
    if len(seen) < FEWEST:
        message = f"only {len(seen)} of {len(files)} networks under {models} can be scored"
        reasons = "; ".join(f"{name}: {why}" for name, why in [*left_out.items()][:3])
        hint = f"At least {FEWEST} are needed. {reasons}".rstrip()
        raise UsageError(message, hint=hint)
    whole = draw(before, seen)
    after = fitting(whole)
    room.write_text(out.name, _written(after))
    return Recalibration(
        file=out, used=tuple(seen), left_out=left_out, before=before, after=after,
        crowded=len(whole.natures) - len(after.natures),
    )  # fmt: skip


def fitting(calibration: Calibration) -> Calibration:
    """Keep the natures, those of most networks first, that a file has room for and can be read."""
    natures = sorted(calibration.natures, key=lambda one: -one.networks)
    kept = calibration.model_copy(update={"natures": ()})
    with tempfile.TemporaryDirectory(prefix="gatekeeper-") as folder:
        file = Path(folder) / "calibration.yaml"
        for nature in natures:
            more = kept.model_copy(update={"natures": (*kept.natures, nature)})
            file.write_text(_written(more), encoding="utf-8")
            with suppress(CalibrationError):
                read_calibration(str(file))
                kept = more
    return kept


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
) -> tuple[Screened | None, str]:
    """What one network shows, and why that means nothing where it is so."""
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
                return None, next(iter(told), "its weights could not be read")
            found = room.read_json("findings.json")
            classes, images = work.candidate.classes, work.data_digest or ""
    why = "; ".join(found["assessment"]["why_inconclusive"])
    screens = TypeAdapter(dict[str, ScreenResult]).validate_python(found["screens"])
    return Screened(classes=classes, images=images, screens=screens), why


def _written(calibration: Calibration) -> str:
    plain = calibration.model_dump(mode="json", exclude={"path", "sha256"})
    text: str = yaml.safe_dump(plain, sort_keys=False, width=100)
    return text


def told(done: Recalibration) -> str:
    """Say in a few lines what came of it."""
    after, before = done.after, done.before
    lines = [
        f"{len(done.used)} networks scored, {len(done.left_out)} left out",
        *(f"  left out {name}: {why}" for name, why in done.left_out.items()),
    ]
    for own, shipped in zip(after.references, before.references, strict=True):
        if after.natures or not own.natural:
            lines += _bound(own, shipped)
    lines += [
        f"What is easy by nature: known of {len(one.classes)} classes from {one.networks} networks"
        "; a scan of these classes on these very images takes it off"
        for one in after.natures
    ]
    if not after.natures and not done.crowded:
        lines.append(
            f"What is easy by nature is not known: that needs {ALIKE} networks of the same "
            "classes, in one order"
        )
    if done.crowded:
        lines.append(
            f"What is easy by nature has no room in the file for {done.crowded} of the tasks: "
            "calibrate on fewer at once"
        )
    whole = zip(after.references, before.references, strict=True)
    for own, shipped in whole:
        high = sum(score >= shipped.threshold for score in own.clean) if own != shipped else 0
        if high and not own.without:
            beside = ", beyond what is natural" if own.natural else ""
            lines.append(
                f"Look at them again: {high} of your networks would be suspected at the shipped "
                f"bound{beside}; one backdoored network among them hides others like it"
            )
    if len(done.used) < SURE:
        lines.append(f"Fewer than {SURE} networks: the bound could rise, but not fall")
    lines.append(
        f"Written: {done.file}; name it in gatekeeper.yaml (calibration: FILE) or by --calibration"
    )
    return "\n".join(lines)


def _bound(own: Reference, shipped: Reference) -> list[str]:
    """A line or two of the bound; of what some screens did not see, only where it moved."""
    seen = f"seen without {' and '.join(own.without)}: " if own.without else ""
    seen = f"beyond what is natural: {seen}" if own.natural else seen
    if own == shipped and not own.without:
        return [f"{seen}as shipped, since fewer than {FEWEST} networks are held against it"]
    if own.without and own.threshold == shipped.threshold:
        return []
    return [
        f"{seen}suspicious from {own.threshold:.2f} (shipped: {shipped.threshold:.2f})",
        f"  {own.detection.value:.1%} of the calibration's {own.detection.n} backdoored networks "
        f"are found there ({shipped.detection.value:.1%} where weights and bound had not seen "
        "their kind)",
    ]
