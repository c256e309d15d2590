"""What a step works with: the job, the policy, the card, the images, and the run directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from gatekeeper.calibration import Calibration, read_calibration
from gatekeeper.candidate.graph.load import input_of, load_graph, load_loose
from gatekeeper.candidate.loading import load
from gatekeeper.candidate.structure import Layer, StructureError, read_structure
from gatekeeper.card import EMPTY, Card, beside, read_card
from gatekeeper.data import look, read_images, read_loose, split, without
from gatekeeper.devices import device_of
from gatekeeper.errors import CardError, DataError, RunDirectoryError, StepError, UsageError
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.policy import Policy, read_policy
from gatekeeper.records import DataRecord, InputSpec
from gatekeeper.rundir import RunDirectory, sha256_file

WEIGHTS, GRAPH = "weights.safetensors", "graph.json"
STRUCTURE = "structure.json"  # only of a network that was pickled whole
PURIFY_SHARE = 0.4
_NEAR = (
    "The gatekeeper.yaml that names it lies beside the candidate, so it may be a stranger's: "
    "where it is yours, say GATEKEEPER_CONFIG=FILE."
)
# 29 single-target backdoors needed 0.001 to 0.016 of the image, 36 clean networks 0.016 to 0.07.
DEFAULT_TRIGGER_AREA = 0.015


@dataclass(frozen=True, kw_only=True)
class CleanData:
    """Clean images in two parts that never meet."""

    purify: Images
    verify: Images
    record: DataRecord


@dataclass
class Notes:
    """What a step has to confess: `errors` keep the run from a PASS, `skipped` are told."""

    errors: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class Workshop:
    """Opens what a step needs, once, when it is asked for."""

    def __init__(
        self, job: Job, room: RunDirectory, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Work for `job` in `room`; `tell` hears one line of progress at a time."""
        self.job = job
        self.room = room
        self.tell = tell
        self.notes = Notes()

    def tell_classes(self, done: int, count: int) -> None:
        """Tell how far a search for triggers of many classes is."""
        self.tell(f"{done:,} of {count:,} classes searched, in short")

    @cached_property
    def policy(self) -> Policy:
        """The policy that judges."""
        return read_policy(self.job.policy)

    @cached_property
    def calibration(self) -> Calibration:
        """What the screens' score is held against."""
        return read_calibration(self.job.calibration)

    @cached_property
    def card(self) -> Card:
        """The operator's card, else the one that came with the candidate, else an empty one."""
        if self.job.card:
            return self._given_card(Path(self.job.card))
        found = beside(Path(self.job.model))
        return read_card(found, trusted=False) if found else EMPTY

    @cached_property
    def device(self) -> torch.device:
        """Where networks run.

        Raises:
            UsageError: a GPU was asked for and there is none.
        """
        return device_of(self.job.device)

    @property
    def trigger_area(self) -> float:
        """Share of the image below which a trigger is too small to be natural."""
        bound = self.policy.require.get("smallest_trigger_area")
        return DEFAULT_TRIGGER_AREA if bound is None or bound.at_least is None else bound.at_least

    @cached_property
    def graph_input(self) -> tuple[InputSpec, int | None] | None:
        """What an ONNX graph that does not convert is fed, and how many images at once."""
        if self.has_weights or not self.room.file(GRAPH).exists():
            return None
        try:
            return input_of(self.room.file(GRAPH), self.card)
        except CardError:
            return None  # the read step told it

    @property
    def _input(self) -> InputSpec | None:
        if self.has_weights:
            return self.candidate.input
        return self.graph_input[0] if self.graph_input else None

    @property
    def has_weights(self) -> bool:
        """Tell whether the candidate could be read and its architecture is known."""
        return bool(self.room.read_json("candidate.json")["loadable"])

    @cached_property
    def model_digest(self) -> str:
        """Digest of the candidate's file; empty where it is no file."""
        path = Path(self.job.model)
        return sha256_file(path) if path.is_file() else ""

    @property
    def data_digest(self) -> str | None:
        """Digest of the clean images, where the run can use any."""
        return self.data.record.sha256 if self.data else None

    def check(self) -> None:
        """Refuse what can be seen to be wrong before any foreign byte is read.

        Raises:
            UsageError: policy, card or device are wrong, or a path that was given does not exist.
        """
        _ = self.policy, self.calibration, self.card, self.device
        for path in (self.job.data, self.job.verify_data, self.job.suspects):
            if path is not None:
                look(path)
        for option, given in (
            ("verify-data", self.job.verify_data),
            ("suspects", self.job.suspects),
        ):
            if given is not None and self.job.data is None:
                message = f"--{option} needs --data"
                raise UsageError(message, hint="Give --data DIR as well.")

    @cached_property
    def data(self) -> CleanData | None:
        """The clean images, split once by seed; None where none were given, or nothing answers.

        Raises:
            DataError: they cannot be read or do not fit the network's head.
        """
        if self.job.data is None:
            return None
        spec = self._input
        if spec is None:
            return None
        images, digest = read_images(self.job.data, spec, classes=self.card.classes)
        if self.has_weights and len(images.classes) != len(self.candidate.classes):
            message = (
                f"{self.job.data} has {len(images.classes)} classes, "
                f"the network has {len(self.candidate.classes)}"
            )
            raise DataError(message, hint="Give one folder per class of the network.")
        purify, verify = split(images, seed=self.seed_for("split"), first=PURIFY_SHARE)
        if self.job.verify_data is not None:
            purify = images
            verify, second = read_images(self.job.verify_data, spec, classes=images.classes)
            digest = hashlib.sha256(f"{digest}:{second}".encode()).hexdigest()
        fresh = without(verify, purify)
        if not len(fresh):
            message = "every verification image is also an image to purify on"
            raise DataError(message, hint="Give other images with --verify-data.")
        record = DataRecord(
            path=self.job.data,
            sha256=digest,
            samples=len(purify) + len(fresh),
            classes=images.classes,
            purify=len(purify),
            verify=len(fresh),
            shared=len(verify) - len(fresh),
        )
        return CleanData(purify=purify, verify=fresh, record=record)

    @cached_property
    def suspects(self) -> Images | None:
        """The images that the operator suspects, unlabelled; None where none were given."""
        return self._suspects[0] if self._suspects else None

    @property
    def suspects_digest(self) -> str | None:
        """Digest of the suspect images, where the run can use any."""
        return self._suspects[1] if self.has_weights and self._suspects else None

    @cached_property
    def _suspects(self) -> tuple[Images, str] | None:
        if self.job.suspects is None:
            return None
        model = self.candidate
        return read_loose(Path(self.job.suspects), model.input, classes=model.classes)

    @cached_property
    def candidate(self) -> Model:
        """The candidate as a network on the device.

        Raises:
            CardError: the operator's card does not fit.
            StepError: nobody said what architecture it is, and none fits.
        """
        return self.load(WEIGHTS)

    @cached_property
    def layers_alone(self) -> Model | None:
        """The layers of an ONNX graph that does not convert; None where there are none."""
        graph, weights = self.room.file(GRAPH), self.room.file(WEIGHTS)
        if self.has_weights or not graph.exists() or not weights.exists():
            return None
        return load_loose(graph, weights, self.card, classes=self._folder_classes())

    def load(self, name: str) -> Model:
        """Load the weights in the run's file `name` into the candidate's architecture."""
        try:
            model = self._load(name)
        except CardError as error:
            if self.job.card or self.card.architecture:
                raise
            raise StepError(str(error), hint=error.hint or "Give --card FILE.") from error
        return replace(model, network=model.network.to(self.device))

    def _load(self, name: str) -> Model:
        files, classes = self.room.file, self._folder_classes()
        if not files(GRAPH).exists():
            return load(files(name), self.card, classes=classes, structure=self._structure())
        # Only the candidate's tensors have the graph's names; later ones have the network's.
        purified = files(name) if name != WEIGHTS else None
        weights = files(WEIGHTS)
        return load_graph(files(GRAPH), weights, self.card, classes=classes, purified=purified)

    def _structure(self) -> list[Layer] | None:
        """How the candidate's network is put together, where it was pickled whole."""
        if not self.room.file(STRUCTURE).exists():
            return None
        try:
            return read_structure(self.room.read_json(STRUCTURE))
        except (StructureError, ValueError) as error:
            message = f"{self.room.file(STRUCTURE)} is damaged: {error}"
            raise RunDirectoryError(message, hint="Start again in another --out.") from None

    def seed_for(self, purpose: str) -> int:
        """Draw the seed of one step from the run's, so that steps can be repeated alone."""
        digest = hashlib.sha256(f"{self.job.seed}:{purpose}".encode()).digest()
        return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF

    def _given_card(self, path: Path) -> Card:
        try:
            return read_card(path, trusted=self.job.card_trusted)
        except CardError as error:
            if self.job.card_trusted:
                raise
            raise CardError(str(error), hint=f"{error.hint} {_NEAR}") from None

    def _folder_classes(self) -> tuple[str, ...] | None:
        if self.job.data is None or not Path(self.job.data).is_dir():
            return None
        names = [entry.name for entry in Path(self.job.data).iterdir() if entry.is_dir()]
        return tuple(sorted(name for name in names if not name.startswith("."))) or None
