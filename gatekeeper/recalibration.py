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

from gatekeeper.calibration import Calibration, read_calibration
from gatekeeper.errors import CalibrationError, CardError, GatekeeperError, UsageError
from gatekeeper.job import Job
from gatekeeper.own_calibration import FEWEST, Screened, draw, scores_of
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
        shown, why = _looked_at(path, name, digests, given, before)
        if shown is None:
            left_out[name] = why
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


def _looked_at(
    path: Path, name: str, digests: dict[str, str], given: dict[str, Any], before: Calibration
) -> tuple[Screened | None, str]:
    """What one network shows, or why it is left out; its digest is noted by `name`."""
    try:
        first = digests.setdefault(sha256_file(path), name)
        if first != name:
            return None, f"the same file as {first}"
        shown, why = _screened(path, given, before)
    except GatekeeperError as error:
        return None, f"{error}. {error.hint}".strip()
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    if shown is None or why or not scores_of(shown, before):
        return None, why or "no score"
    return shown, ""


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
