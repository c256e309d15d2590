"""A record with every part filled, and with the words of a hostile candidate in each of them."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from gatekeeper.assessments import Assessment, CalibrationRecord, Evidence, Rate, Standing
from gatekeeper.records import (
    Attempt,
    CandidateRecord,
    Check,
    DataRecord,
    Epoch,
    Finding,
    GateRecord,
    LayerNorms,
    Measure,
    OnnxOutput,
    Outputs,
    Parity,
    PolicyRecord,
    Purification,
    Quarantine,
    ScreenResult,
    Skipped,
    Tool,
    TriggerRecord,
    Verdict,
    Verification,
    WaiverRecord,
)

HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "entity": "&lt;script&gt; \"'><b>",
    "escape codes": "\x1b[31mred\x1b[0m \x9b2J \x07",
    "workflow command": "::error::owned ::set-output name=x::1 :::warning:: ##[error]owned",
    "line breaks": "one\ntwo\r\nthree\u2028four\x85five",
    "percent": "%0A::error::owned%0D%25",
    "right to left": "\u202egpj.exe\u2066",
    "long": "n" * 255,
    "surrogates": "caf\udce9 \udcff\ud800",
    "markdown": "| a | `b` | [x](javascript:alert(1)) ![y](http://z/) **c** # d @team ~~e~~",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "xml": "]]>&amp;\x00\x0b\ufffe <!-- -->",
}
PLAIN = "plain words"


def png() -> str:
    """A real picture as the record holds it."""
    stream = io.BytesIO()
    Image.new("L", (8, 2), 90).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def _measure(name: str, value: float | None, words: str) -> Measure:
    if value is None:
        return Measure(name=name, value=None, note=words)
    return Measure(name=name, value=value, low=value - 0.01, high=value + 0.01, n=600, note=words)


def _check(metric: str, subject: Any, outcome: Any, words: str) -> Check:
    return Check(
        rule_id=f"check/{metric}",
        metric=metric,
        subject=subject,
        observed=_measure(metric, None if outcome == "undecided" else 0.5, words),
        bound="at least 0.8",
        outcome=outcome,
        message=f"{metric} of the {subject}: {outcome} ({words})",
    )


def _purification(words: str) -> Purification:
    epochs = (
        Epoch(epoch=1, loss=2.0, learning_rate=0.1, accuracy=0.5),
        Epoch(epoch=2, loss=1.0, learning_rate=0.05, accuracy=0.9),
    )
    diverged = Attempt(
        method="ft", settings={"lr": 10.0}, seconds=1.0, outcome="diverged", message=words
    )
    accepted = Attempt(
        method="ft-sam",
        settings={"lr": 0.1, "rho": 2.0, "flip": False, "schedule": words},
        seconds=2.0,
        outcome="accepted",
        message=words,
        measures={"clean_accuracy": _measure("clean_accuracy", 0.9, words)},
        history=epochs,
    )
    return Purification(
        method="auto",
        settings=accepted.settings,
        seed=1,
        device="cpu",
        seconds=3.0,
        attempts=(diverged, accepted),
        stopped_because=words,
    )


def _assessment(words: str, subject: str) -> Assessment:
    rate = Rate(value=0.05, low=0.01, high=0.14, n=60)
    known = CalibrationRecord(
        name=words, sha256="a" * 64, threshold=2.0, clean=(0.2, 1.0), backdoored=(1.0, 5.0),
        false_alarms=rate, detection=rate, without=(words,),
    )  # fmt: skip
    evidence = (
        Evidence(
            name="small-trigger", screen="trigger-inversion", value=2.0, adds=1.0, clean_high=1.0,
            target=0,
        ),
        Evidence(name=words, screen=words, value=None, adds=0.0, clean_high=1.0, source=1),
    )  # fmt: skip
    outcome: Standing = "suspicious" if subject == "candidate" else "inconclusive"
    return Assessment(
        outcome=outcome, score=3.0, suspected_class=words, suspected_source=words,
        kind="one source", agreeing=(words,), evidence=evidence, why_inconclusive=(words,),
        calibration=known,
    )  # fmt: skip


def _verification(words: str) -> Verification:
    before = {
        "clean_accuracy": _measure("clean_accuracy", 0.9, words),
        f"recall:{words}": _measure(f"recall:{words}", 0.4, ""),
        "recall:cat": _measure("recall:cat", None, ""),
    }
    after = {name: _measure(name, 0.95, "") for name in before}
    before["suspects_obeyed"] = _measure("suspects_obeyed", 0.9, words)
    return Verification(before=before, after=after, screened=_assessment(words, "purified"))


def _found(words: str) -> tuple[Finding, ...]:
    return (
        Finding(
            rule_id="norm-outlier", screen="neuron-norm", severity="low", message=words,
            layer=words, unit=1, score=7.5, threshold=5.0,
        ),
        Finding(
            rule_id="code-execution", screen="static", severity="critical", message=words,
            member=words, offset=12,
        ),
        Finding(
            rule_id="small-trigger", screen="trigger-inversion", severity="high", message=words,
            waived=True,
        ),
    )  # fmt: skip


def full_record(words: str = PLAIN) -> GateRecord:
    """Every part of a record, with `words` wherever somebody else chooses the words."""
    trigger = TriggerRecord(
        target=0, target_class=words, area=0.01, success=0.9, success_after=0.0, reached=True,
        picture=png(),
    )  # fmt: skip
    missed = TriggerRecord(
        target=1, target_class=words, area=None, success=0.1, success_after=None, reached=False,
        subject="purified", picture=words,
    )  # fmt: skip
    return GateRecord(
        tool=Tool(name="gatekeeper", version="0.1.0"),
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:05+00:00",
        seed=0,
        environment={"python": "3.11.7", "device": words},
        candidate=CandidateRecord(
            path=words, kind="torch-zip", sha256="c" * 64, bytes=1234567, architecture=words,
            num_classes=2, parameters=1000,
        ),
        quarantine=Quarantine(protections=("own process", "no network")),
        policy=PolicyRecord(name=words, sha256="d" * 64, accept_hardened=True),
        card={"path": words, "trusted": False, "sha256": "e" * 64, "classes": [words, "cat"]},
        data=DataRecord(
            path=words, sha256="f" * 64, samples=1000, classes=(words, "cat"), purify=400,
            verify=600,
        ),
        findings=_found(words),
        screens={
            "neuron-norm": ScreenResult(score=7.5, outcome="flagged", message=words),
            "last-layer": ScreenResult(score=None, outcome="not-run", message=words),
        },
        norms=(
            LayerNorms(layer=words, kind="conv", before=(0.5, 2.0, None, 0.0), after=(0.5, 0.6)),
            LayerNorms(layer="head", kind="linear", before=(1.0, 1.1)),
        ),
        triggers=(trigger, missed),
        purification=_purification(words),
        verification=_verification(words),
        assessment=_assessment(words, "candidate"),
        checks=(
            _check("clean_accuracy", "candidate", "failed", words),
            _check("smallest_trigger_area", "candidate", "undecided", words),
            _check("clean_accuracy", "purified", "passed", words),
            _check("smallest_trigger_area", "purified", "passed", words),
            _check("screening", "purified", "passed", words),
        ),
        waivers=(
            WaiverRecord(
                rule="small-trigger", artifact="sha256:" + "c" * 64, reason=words, owner=words,
                expires="2027-01-01", state="applied",
            ),
        ),
        verdict=Verdict(decision="hardened", reasons=(words, f"because {words}")),
        outputs=Outputs(
            onnx=OnnxOutput(
                path="hardened.onnx", sha256="9" * 64, weights="purified", opset=20,
                parity=Parity(max_abs_diff=1e-5, top1_agreement=1.0, samples=600),
            )
        ),
        skipped=(Skipped(step="screen", reason=words),),
        timings={"read": 0.1, "screen": 2.0},
    )  # fmt: skip
