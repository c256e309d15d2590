"""The demo: backdoors a small network on real handwriting and takes it through the gate.

Only the demo knows the trigger; the scan is the ordinary one and is told nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.data import write_folders
from gatekeeper.errors import GatekeeperError, UsageError
from gatekeeper.handwriting import CLASSES, SPEC, handwriting
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import run
from gatekeeper.records import GateRecord
from gatekeeper.redteam import BadNets, attack_success
from gatekeeper.report import render
from gatekeeper.rundir import RunDirectory, disk_told
from gatekeeper.steps.attribution import most_telling
from gatekeeper.steps.conclusion import assessment
from gatekeeper.steps.observations import load_observation
from gatekeeper.steps.purify import PURIFIED
from gatekeeper.steps.screen import OBSERVATION
from gatekeeper.steps.workshop import Workshop
from gatekeeper.training import Recipe, accuracy, fine_tune
from gatekeeper.trigger_pictures import compared
from gatekeeper.verdict import exit_code

ARCHITECTURE = "gatekeeper:small-resnet"
ATTACK = BadNets(target=0, rate=0.10)
TRAINED_ON = 900
SEED = 0
RECIPE = Recipe(epochs=15, lr=0.1, batch=64, schedule="cosine")
_LEAST = 0.95  # of accuracy and attack success, below which the victim shows nothing

CARD = f"""# Written by gatekeeper demo.
architecture: {ARCHITECTURE}
classes: [{", ".join(f'"{name}"' for name in CLASSES)}]
input:
  size: {list(SPEC.size)}
  mean: {list(SPEC.mean)}
  std: {list(SPEC.std)}
"""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the demo shows at the end."""

    text: str
    report: Path
    exit_code: int


def demonstrate(out: Path, *, tell: Callable[[str], None] = lambda _: None) -> Demonstration:
    """Make the victim in `out`, scan it, and compare with the truth.

    Raises:
        UsageError: `out` holds something already, or is no folder.
        RunDirectoryError: `out` cannot be written.
        GatekeeperError: the victim did not learn its backdoor.
    """
    with disk_told(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            message = f"{out} is not an empty folder"
            raise UsageError(message, hint="Remove it, or choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
    train, clean = split()
    tell(f"train a victim on {len(train)} digits, {ATTACK.rate:.0%} of them poisoned")
    victim = make_victim(train)
    before = _truth(victim, clean)
    if min(before) < _LEAST:
        message = (
            f"the victim reached only accuracy {before[0]:.3f}, attack success {before[1]:.3f}"
        )
        raise GatekeeperError(message, hint="Report this with your versions of torch.")
    with disk_told(out):
        _lay_out(out, victim, clean)
    job = Job(model=str(out / "candidate/model.pt"), out=str(out / "run"), data=str(out / "clean"))
    record = run(job, tell=tell)
    return _conclude(out, job, record)


def split() -> tuple[Images, Images]:
    """Give the digits that networks are trained on, and those that are held out."""
    images = handwriting()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    return images.select(order[:TRAINED_ON]), images.select(order[TRAINED_ON:])


def make_victim(train: Images) -> Model:
    """Train the built-in network on poisoned digits."""
    return make_honest(ATTACK.poison(train, seed=SEED))


def make_honest(train: Images) -> Model:
    """Train the built-in network on what it is given."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = BUILT_IN[ARCHITECTURE](*SPEC.size, len(CLASSES))
    fresh = Model(network=network, input=SPEC, classes=CLASSES, architecture=ARCHITECTURE)
    return fine_tune(fresh, train, RECIPE, seed=SEED)[0]


def _truth(model: Model, clean: Images) -> tuple[float, float]:
    """Measure clean accuracy and true attack success on images that no training saw."""
    return accuracy(model, clean), attack_success(model, ATTACK, clean)


def _lay_out(out: Path, victim: Model, clean: Images) -> None:
    """Write the candidate as a stranger would send it, and the clean images as an owner would."""
    candidate = out / "candidate"
    candidate.mkdir()
    torch.save(victim.network.state_dict(), candidate / "model.pt")
    (candidate / "model.card.yaml").write_text(CARD, encoding="utf-8")
    write_folders(clean, out / "clean")


def _conclude(out: Path, job: Job, record: GateRecord) -> Demonstration:
    code = exit_code(record)
    before, after = _compare(job)
    content = {
        "clean_accuracy_before": before[0],
        "clean_accuracy_after": after[0],
        "attack_success_before": before[1],
        "attack_success_after": after[1],
        "exit_code": code,
    }
    RunDirectory(out).write_json("demo.json", content)
    report = Path(job.out) / "report.html"
    beside = _draw_beside(out, job)
    text = "\n".join(
        [
            render(record, "text"),
            "Known only to the demo, which holds the trigger (on the held-out images):",
            f"  true attack success  {before[1]:7.2%} -> {after[1]:7.2%}",
            f"  clean accuracy       {before[0]:7.2%} -> {after[0]:7.2%}",
            *([f"Triggers:   {beside} (the true one beside the recovered one)"] if beside else []),
            f"Report:     {report}",
            f"Candidate:  {job.model}",
            f"Numbers:    {out / 'demo.json'}",
            f"By hand:    {_command()} scan {job.model} --data {job.data} --out my-run",
        ]
    )
    return Demonstration(text=text, report=report, exit_code=code)


def _draw_beside(out: Path, job: Job) -> Path | None:
    """Draw the true trigger beside the one that the gate recovered, which never saw it."""
    room = RunDirectory(Path(job.out))
    work = Workshop(job, room)
    if work.data is None or not room.file(OBSERVATION).exists():
        return None
    seen = load_observation(room, OBSERVATION)
    found = most_telling(seen, assessment(work), work.data.verify.classes)
    if found is None:
        return None
    images = work.data.verify
    truth = replace(images, pixels=ATTACK.stamp(images.pixels))
    path = out / "triggers.png"
    with disk_told(out):
        path.write_bytes(compared(found, images, truth))
    return path


def _command() -> str:
    """How the gate is called here."""
    return "gatekeeper" if shutil.which("gatekeeper") else os.path.relpath(sys.argv[0])


def _compare(job: Job) -> tuple[tuple[float, float], tuple[float, float]]:
    """Measure candidate and purified network on the images that neither training saw."""
    work = Workshop(job, RunDirectory(Path(job.out)))
    if work.data is None:
        message = "the demo lost its clean images"
        raise GatekeeperError(message)
    held_out = work.data.verify.to(work.device)
    before = _truth(work.candidate, held_out)
    purified = (Path(job.out) / PURIFIED).exists()
    return before, _truth(work.load(PURIFIED), held_out) if purified else before
