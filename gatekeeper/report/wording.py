"""Words and numbers as every report writes them."""

from __future__ import annotations

from gatekeeper.records import Decision, Measure

MEANING: dict[Decision, str] = {
    "pass": "The candidate itself meets the policy.",
    "hardened": "The candidate does not meet the policy; the purified network does.",
    "reject": "Neither the candidate nor a purified network may be deployed.",
    "undecided": "Something could not be decided. Treat the candidate as not accepted.",
}
NEXT: dict[Decision, str] = {
    "pass": "Deploy hardened.onnx of this run, not the file that came in.",
    "hardened": "Deploy hardened.onnx of this run, never the file that came in.",
    "reject": "Do not deploy. Ask for another model, or look at the findings below.",
    "undecided": "Do what the reasons name, then run again with --resume or in a new directory.",
}
LABELS = {
    "clean_accuracy": "Clean accuracy",
    "clean_accuracy_drop": "Accuracy lost",
    "worst_class_recall": "Recall of the worst class",
    "worst_class_recall_drop": "Recall lost by the worst class",
    "recovered_trigger_success": "Success of recovered triggers",
    "smallest_trigger_area": "Smallest trigger (share of image)",
    "onnx_top1_agreement": "ONNX agrees with torch",
}


def percent(value: float | None) -> str:
    """Write a fraction as percent."""
    return "–" if value is None else f"{100 * value:.2f} %"


def measured(measure: Measure | None) -> str:
    """Write a measure with its interval."""
    if measure is None or measure.value is None:
        return "not measured"
    if measure.low is None or measure.high is None:
        return percent(measure.value)
    return f"{percent(measure.value)} [{100 * measure.low:.2f}, {100 * measure.high:.2f}]"


def visible(text: str) -> str:
    """Replace what could steer a terminal or break a line."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
