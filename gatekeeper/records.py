"""Every noun that travels between the steps: frozen, keyword-only, free of torch.

Fractions are in [0, 1], never percent; seconds are wall-clock; digests are lower-case hex sha256.
`GateRecord` is what `record.json` holds, and every report is a pure function of it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from gatekeeper.assessments import Assessment, Attribution
from gatekeeper.foreign_text import well_formed

SCHEMA_VERSION = "1"

Severity = Literal["info", "low", "medium", "high", "critical"]
Outcome = Literal["passed", "failed", "undecided"]
Decision = Literal["pass", "hardened", "reject", "undecided"]
Subject = Literal["candidate", "purified"]
Setting = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The candidate file as it was hashed."""

    path: str
    kind: str  # torch-zip, torch-legacy, safetensors, pickle, onnx, torchscript, ..., unknown
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the network wants to see: pixels scaled to [0, 1], then (pixel - mean) / std."""

    size: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing a screen saw; the rule's remedy is in `rules.py`."""

    rule_id: str
    screen: str
    severity: Severity
    message: str
    layer: str = ""
    unit: int | None = None
    score: float | None = None  # for norms: robust standard deviations above the layer's median
    threshold: float | None = None
    member: str = ""  # archive member
    offset: int | None = None  # bytes from the start of the member
    waived: bool = False


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measured number with its 95 % interval over `n` images."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""  # why there is no value, or which class it is about
    partial: bool = False  # something was left out: it may fail a line, but never meet one


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of a training history."""

    epoch: int
    loss: float | None  # None where training diverged
    learning_rate: float
    accuracy: float | None = None  # on the purifier's own validation split


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One purification that was tried, and what the gate could see of it."""

    method: str
    settings: dict[str, Setting]
    seconds: float
    outcome: Literal["accepted", "refused", "diverged"]
    message: str
    measures: dict[str, Measure] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    final: bool = False  # what was chosen, tuned once more on all the images


@dataclass(frozen=True, kw_only=True)
class Purification:
    """What was done to the weights; `settings` are those of the attempt that was kept."""

    method: str
    settings: dict[str, Setting]
    seed: int
    device: str
    seconds: float
    attempts: tuple[Attempt, ...] = ()
    stopped_because: str = ""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Measures by name, before and after; the names are those under `require` in a policy.

    Per-class recall stands beside them as `recall:CLASS`. `screened` is what the screens say of the
    purified network, asked where the candidate is not clean-looking.
    """

    before: dict[str, Measure]
    after: dict[str, Measure] | None = None
    screened: Assessment | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the policy, held against what was measured."""

    rule_id: str
    metric: str
    subject: Subject
    observed: Measure | None
    bound: str  # "at least 0.80"
    outcome: Outcome
    message: str


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """What was not checked, and why: told, never dropped."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision and the sentences that carry it, the weightiest first."""

    decision: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TriggerRecord:
    """A trigger that the gate recovered, small enough to show.

    A source's works on images of that class; with the target -1 images leave their class.
    """

    target: int
    target_class: str
    source_class: str | None = None  # None: all classes
    area: float | None  # share of the image that it changes
    success: float | None  # on held-out images that it was not fitted on, where there are enough
    success_after: float | None  # the same trigger against what would be deployed
    reached: bool
    subject: Subject = "candidate"
    picture: str = ""  # base64 PNG: an image without and with it, mask, pattern


@dataclass(frozen=True, kw_only=True)
class LayerNorms:
    """The weight norms of one layer's units, BatchNorm folded in; None where one is not finite."""

    layer: str
    kind: str
    before: tuple[float | None, ...]
    after: tuple[float | None, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PairArea:
    """Share of the image that leads from one class to another; classes by index."""

    source: int
    target: int
    area: float


@dataclass(frozen=True, kw_only=True)
class ScreenResult:
    """A screen's word on the whole model, and what it measured; the assessment weighs them all."""

    score: float | None
    outcome: Literal["flagged", "not-flagged", "undecided", "not-run"]
    calibration: str = "none"
    message: str = ""
    by_class: tuple[float | None, ...] = ()  # the screen's own measure, None where there is none
    pairs: tuple[PairArea, ...] = ()  # the closest, smallest first
    destinations: tuple[int | None, ...] = ()  # the class that most images of each were led to


@dataclass(frozen=True, kw_only=True)
class WaiverRecord:
    """A waiver of the policy and what it did in this run."""

    rule: str
    artifact: str
    reason: str
    owner: str
    expires: str
    state: Literal["applied", "expired", "unused"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Who wrote the record."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """The candidate as read."""

    path: str
    kind: str
    sha256: str
    bytes: int
    architecture: str | None = None
    num_classes: int | None = None
    parameters: int | None = None
    input: InputSpec | None = None  # what the exported network expects, too, is pixels in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """Protections that were in force while foreign bytes were parsed."""

    protections: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """Which policy judged."""

    name: str
    sha256: str
    accept_hardened: bool  # whether "hardened" lets a release go on


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The clean images and how they were split."""

    path: str
    sha256: str
    samples: int
    classes: tuple[str, ...]
    purify: int
    verify: int
    shared: int = 0  # verification images left out, as they are also images to purify on


@dataclass(frozen=True, kw_only=True)
class Parity:
    """ONNX against torch on real held-out images."""

    max_abs_diff: float | None  # None where an answer is not finite
    top1_agreement: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class OnnxOutput:
    """The hardened artifact; `path` is relative to the run directory."""

    path: str
    sha256: str
    weights: Subject
    opset: int
    parity: Parity


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a deployment may pick up."""

    onnx: OnnxOutput | None = None


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """All of one run: enough to draw every report again with no model at hand."""

    tool: Tool
    started_at: str  # ISO 8601, UTC
    finished_at: str
    seed: int
    environment: dict[str, str]
    candidate: CandidateRecord
    quarantine: Quarantine
    policy: PolicyRecord
    card: dict[str, Any]
    data: DataRecord | None
    findings: tuple[Finding, ...]
    screens: dict[str, ScreenResult]
    norms: tuple[LayerNorms, ...]
    assessment: Assessment | None = None
    attribution: Attribution | None = None
    triggers: tuple[TriggerRecord, ...]
    purification: Purification | None
    verification: Verification | None
    checks: tuple[Check, ...]
    waivers: tuple[WaiverRecord, ...]
    verdict: Verdict
    outputs: Outputs
    skipped: tuple[Skipped, ...]
    timings: dict[str, float]  # seconds by step
    schema_version: str = SCHEMA_VERSION


def to_dict(record: Any) -> dict[str, Any]:
    """Turn any record into plain dictionaries and lists, ready for `json.dumps`."""
    plain: dict[str, Any] = jsonable(dataclasses.asdict(record))
    return plain


def jsonable(content: Any) -> Any:
    """Give what every JSON reader takes: lists for tuples, None for NaN, no lone surrogate."""
    if isinstance(content, dict):
        return {jsonable(key): jsonable(item) for key, item in content.items()}
    if isinstance(content, (list, tuple)):
        return [jsonable(item) for item in content]
    if isinstance(content, str):
        return well_formed(content)
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
