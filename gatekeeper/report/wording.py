"""Words and numbers as every report writes them."""

from __future__ import annotations

from gatekeeper.assessments import Assessment, Kind, Standing
from gatekeeper.records import Check, Decision, Finding, GateRecord, Measure, Subject

MEANING: dict[Decision, str] = {
    "pass": "The candidate itself meets the policy.",
    "hardened": "The candidate does not meet the policy; the purified network does.",
    "reject": "Nothing of this candidate may be deployed.",
    "undecided": "Something could not be decided. Treat the candidate as not accepted.",
}
_NEXT: dict[Decision, str] = {
    "pass": "Deploy hardened.onnx of this run, not the file that came in.",
    "hardened": "Deploy hardened.onnx of this run, never the file that came in.",
    "reject": "Do not deploy. Ask for another model, or look at the findings below.",
    "undecided": "Give what the reasons ask for (images, a card, another file) and scan again, "
    "with --resume or into a new directory. Where they ask for nothing, ask for another model.",
}
_NOT_ACCEPTED = (
    "Do not deploy yet: this policy lets no hardened network pass. Have hardened.onnx of this run "
    "reviewed, or scan under a policy with accept_hardened: true."
)
NOTHING_TO_TRY = "no trigger smaller than"  # how the note of such a measure begins
LABELS = {
    "screening": "All screens together",
    "clean_accuracy": "Clean accuracy",
    "clean_accuracy_drop": "Accuracy lost (below 0: gained)",
    "worst_class_recall": "Recall of the worst class",
    "worst_class_recall_drop": "Recall lost by the worst class",
    "recovered_trigger_success": "Success of recovered triggers",
    "smallest_trigger_area": "Smallest trigger (share of image)",
    "onnx_top1_agreement": "ONNX agrees with torch",
}
AFTERMATH_LABELS = {
    "membership_auc": "Membership inference, area under the curve (50 %: nothing leaks)",
    "membership_balanced_accuracy": "Membership inference, balanced accuracy",
    "reinjection_success": "Success of a fresh patch, put in again with few images",
    "adversarial_accuracy": "Accuracy under changes of at most 8/255 (PGD)",
    "suspects_obeyed": "Suspect images that obey",
    "suspects_obeyed_after_retuning": "The same, after tuning on five of them",
    "suspects_obeyed_after_reactivation": "The same, under one small change for all",
    "suspects_obeyed_along_the_path": "The same, between purified and candidate, at most",
}
TELLING = (
    "lr",
    "rho",
    "weight_decay",
    "distil",
    "restore_epochs",
    "marks",
    "alpha",
    "counter",
    "tau",
    "keep",
    "countered",
    "epochs",
    "rounds",
    "images",
)  # settings that say how strong it was
STANDING: dict[Standing, str] = {
    "clean-looking": "The screens together found nothing that speaks for a backdoor. That is not "
    "the same as clean: see at the end what no such audit can see.",
    "suspicious": "The screens together speak for a backdoor.",
    "inconclusive": "The screens could not tell: too little was seen, or what was seen means "
    "nothing, for the reasons below. Neither suspicious nor clean-looking.",
}
KINDS: dict[Kind, str] = {
    "one class": "a trigger that leads from all classes to one",
    "one source": "a trigger that leads from one class to another",
    "all to all": "a trigger that sends each class to another",
}
EVIDENCE_LABELS = {
    "small-trigger": "Smallest trigger: how little of the image (powers of ten)",
    "smaller-trigger": "How much smaller one class's trigger is than the median one (logarithm)",
    "lone-trigger": "How much smaller one class's trigger is than any other's (logarithm)",
    "easier-than-leaving": "How much less of the image forces a class than makes images leave "
    "theirs for any other (logarithm)",
    "larger-margin": "How much further one class can be pushed than the median class (logarithm)",
    "lone-margin": "How much further the network can be pushed to one class than to any other "
    "(logarithm)",
    "easier-perturbation": "How many more images a faint change brings to one class than to the "
    "median class",
    "shorter-shift": "How much shorter a hidden shift leads to one class than to the median class "
    "(logarithm)",
    "closer-pair": "How much less leads from one class to another than between any other pair "
    "(logarithm)",
    "easier-to-leave": "How little makes all classes leave, for how many others",
}
SCREEN_LABELS = {
    "neuron-norm": "Units whose weights stand out",
    "channel-lipschitz": "Channels that may stretch their input far",
    "last-layer": "Classes whose last-layer row stands out",
    "trigger-inversion": "Classes that a small trigger forces",
    "maximum-margin": "Classes that the network can be pushed to far above others",
    "untargeted-inversion": "One small trigger that images of every class obey",
    "pair-inversion": "Classes from which a small trigger leads to another",
    "universal-perturbation": "Classes that one faint change of the whole image leads to",
    "hidden-shift": "Classes that a short shift inside the network leads to",
}


def in_short(assessment: Assessment) -> str:
    """Say in a line what the screens make of a network together."""
    towards = ""
    if assessment.suspected_class is not None:
        source = assessment.suspected_source
        towards = f", from class {source}" if source is not None else ""
        towards += f", towards class {assessment.suspected_class}"
    kind = f", {KINDS[assessment.kind]}" if assessment.kind else ""
    score = "no score" if assessment.score is None else f"score {assessment.score:.2f}"
    known = assessment.calibration
    beside = f", beside {known.natural} clean networks of the same classes" if known.natural else ""
    bound = f"suspicious from {known.threshold:.2f}{beside}"
    return f"{assessment.outcome}{towards}{kind} ({score}, {bound})"


def assessment_of(record: GateRecord, subject: Subject) -> Assessment | None:
    """Give what the screens together say of one of the two networks."""
    if subject == "candidate":
        return record.assessment
    return record.verification.screened if record.verification is not None else None


def observed(record: GateRecord, check: Check) -> str:
    """Write what a check saw; of the screens, the outcome and the score it was drawn from."""
    found = assessment_of(record, check.subject) if check.metric == "screening" else None
    if found is None:
        return measured(check.observed)
    score = "no score" if found.score is None else f"score {found.score:.2f}"
    return f"{found.outcome}, {score}"


def next_step(record: GateRecord) -> str:
    """Say what the reader should do now."""
    if record.verdict.decision == "hardened" and not record.policy.accept_hardened:
        return _NOT_ACCEPTED
    return _NEXT[record.verdict.decision]


def percent(value: float | None) -> str:
    """Write a fraction as percent."""
    return "–" if value is None else f"{_signed(value)} %"


def interval(measure: Measure | None) -> str:
    """Write the 95 % interval, or nothing where there is none."""
    if measure is None or measure.low is None or measure.high is None:
        return ""
    return f"[{_signed(measure.low)}, {_signed(measure.high)}]"


def measured(measure: Measure | None) -> str:
    """Write a measure with its interval."""
    if measure is None or measure.value is None:
        return "not measured"
    if measure.note.startswith(NOTHING_TO_TRY):
        return "none to try"
    return f"{percent(measure.value)} {interval(measure)}".rstrip()


def wanted(bound: str) -> str:
    """Write a bound in percent, as the measures beside it: `at most 0.02` is `at most 2 %`."""
    words, _, number = bound.rpartition(" ")
    try:
        return f"{words} {100 * float(number):g} %"
    except ValueError:
        return bound


def _signed(value: float) -> str:
    return f"{100 * value:.2f}".replace("-", "\N{MINUS SIGN}")


def place(finding: Finding) -> str:
    """Where in the file: the archive member and the byte, as far as they are known."""
    byte = "" if finding.offset is None else f"byte {finding.offset}"
    return ", ".join(part for part in (finding.member, byte) if part)
