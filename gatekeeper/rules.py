"""Every rule that the gate can report: what it means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.records import Severity


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule as people read it."""

    id: str
    title: str
    explanation: str
    remedy: str
    severity: Severity


NOT_DECIDED = "not-decided"
# A static finding of these severities keeps the file from being parsed.
BLOCKING: frozenset[Severity] = frozenset({"critical", "high"})

_ALL = (
    Rule(
        id="code-execution",
        title="Loading the file would run code",
        explanation="A pickle inside the file names something that is not on the short list of "
        "harmless tensor constructors, or gives one of numpy's what numpy never writes, which "
        "corrupts memory. Ordinary loaders would import and call it. The gate did not: the file "
        "was not parsed any further. It may be an attack, or an honest object that is no tensor, "
        "such as an optimizer pickled whole: from outside they look alike.",
        remedy="Do not load this file anywhere. Ask its maker for a state dict or .safetensors.",
        severity="critical",
    ),
    Rule(
        id="hidden-pickle",
        title="A pickle where none belongs",
        explanation="A pickle stands in a place that ordinary savers leave to other content.",
        remedy="Do not load this file anywhere. Ask its maker for a .safetensors file.",
        severity="critical",
    ),
    Rule(
        id="archive-structure",
        title="The archive reaches out of itself",
        explanation="A member's name leaves the archive (`../`, an absolute path), or a member is "
        "a link: whoever unpacks it writes or reads where they did not mean to.",
        remedy="Do not unpack it. Ask its maker to save the model again with an ordinary torch.",
        severity="high",
    ),
    Rule(
        id="malformed-tensor",
        title="A tensor does not fit its storage",
        explanation="Size, stride and offset of a tensor reach outside of the bytes it came with.",
        remedy="Do not load this file anywhere. Ask its maker for a .safetensors file.",
        severity="critical",
    ),
    Rule(
        id="external-data",
        title="The file reads outside of its folder",
        explanation="A tensor of this ONNX file says that its bytes stand under an absolute path, "
        "above the file's folder, or at an address in memory. Whoever loads it reads there. The "
        "gate did not.",
        remedy="Do not load this file anywhere. Ask its maker for one file with its weights "
        "inside.",
        severity="critical",
    ),
    Rule(
        id="foreign-operator",
        title="An operator runs code",
        explanation="The ONNX graph names an operator that is a Python function, or a library that "
        "is loaded for it: whoever runs the network runs that code. The gate did not.",
        remedy="Do not load this file anywhere. Ask its maker for a network of ONNX's own "
        "operators.",
        severity="critical",
    ),
    Rule(
        id="non-finite-weights",
        title="Weights that are NaN or infinite",
        explanation="Such a network gives meaningless answers, at once or on some inputs.",
        remedy="Ask for a checkpoint from before training diverged.",
        severity="high",
    ),
    Rule(
        id="all-zero-layer",
        title="A layer whose weights are all zero",
        explanation="The layer passes nothing on: the file is damaged or was saved untrained.",
        remedy="Ask for the trained checkpoint.",
        severity="medium",
    ),
    Rule(
        id="norm-outlier",
        title="A unit whose weights stand out",
        explanation="The norm of this unit's weights, BatchNorm folded in, lies far above the "
        "median of its layer. Units that carry a backdoor often do; so do some of clean networks, "
        "so this flags a unit and decides nothing.",
        remedy="Look whether purification brought it back to its layer (norms before and after).",
        severity="low",
    ),
    Rule(
        id="channel-outlier",
        title="A channel that may stretch its input far",
        explanation="The largest singular value of this channel's kernel, BatchNorm folded in, "
        "lies far above the median of its layer: some input makes it answer far louder than its "
        "neighbours. Channels that carry a backdoor often do; so do some of clean networks, so "
        "this flags a unit and decides nothing.",
        remedy="Compare with the units whose norm stands out, and with what triggers lead to.",
        severity="low",
    ),
    Rule(
        id="class-row-outlier",
        title="A class whose last-layer row stands out",
        explanation="Norm, mean or bias of this class's row in the last layer lies far from those "
        "of the other classes. The target class of a backdoor often looks so; so do rare classes.",
        remedy="Compare with the classes that recovered triggers lead to.",
        severity="low",
    ),
    Rule(
        id="small-trigger",
        title="A class that is too easy to reach",
        explanation="The gate found a pattern that forces this class while it changes less of the "
        "image than the policy's smallest_trigger_area. In the runs behind this first, not yet "
        "calibrated threshold, 29 backdoored networks needed 0.001 to 0.016 of the image, and 36 "
        "clean ones 0.016 to 0.07.",
        remedy="Deploy nothing but a hardened.onnx of this run; where there is none, ask for a "
        "model trained on data you trust.",
        severity="high",
    ),
    Rule(
        id="backdoor-suspected",
        title="The screens together speak for a backdoor",
        explanation="The score that weighs all screens lies where hardly any known-clean network "
        "does; the report shows it among clean and backdoored ones, names the class that the "
        "evidence points to, and tells how often the calibration was wrong. Such a candidate "
        "never passes as it is; purified, it may, where the screens find the purified network "
        "clean-looking. A waiver of this rule also covers a candidate of which the screens could "
        "not tell, and no network that was made of it.",
        remedy="Deploy nothing but a hardened.onnx of this run; where there is none, ask for a "
        "model trained on data you trust. Forbid this rule to reject such candidates outright.",
        severity="high",
    ),
    Rule(
        id=NOT_DECIDED,
        title="The gate could not decide",
        explanation="Something that the policy asks for could not be checked, or the file could "
        "not be read. What was not checked is not clean: treat the candidate as not accepted.",
        remedy="Do what the message names, then scan again.",
        severity="high",
    ),
)

_METRIC_RULES = (
    (
        "clean_accuracy",
        "Accuracy on held-out clean images",
        "The share of held-out clean images that are classified as labelled.",
        "Check the card (normalisation, order of classes) before you blame the model.",
    ),
    (
        "clean_accuracy_drop",
        "Accuracy lost by purification",
        "Accuracy of the candidate minus that of the network judged, on the same images.",
        "Give more clean images (--data), or a gentler method (--purify).",
    ),
    (
        "worst_class_recall",
        "Recall of the worst class",
        "The smallest share, among classes with enough images, that is recognised as its class.",
        "Look at the per-class recall in the report.",
    ),
    (
        "worst_class_recall_drop",
        "Recall lost by the worst class",
        "The largest loss of recall among classes with enough images, as observed.",
        "Give more clean images of that class.",
    ),
    (
        "recovered_trigger_success",
        "Success of the recovered triggers",
        "How often the triggers that the gate recovered from the candidate, those smaller than "
        "the policy's area, still force their class on the network judged.",
        "Purify with more clean images, or reject the model.",
    ),
    (
        "smallest_trigger_area",
        "Smallest trigger that forces a class",
        "The share of the image that a fresh search must change to force some class on 90 % of "
        "images. The smaller, the easier the network is to steer.",
        "Purify with more clean images, or reject the model.",
    ),
    (
        "onnx_top1_agreement",
        "The ONNX file and torch agree",
        "How often the exported file and the network it came from name the same class, on real "
        "held-out images.",
        "Report this with the architecture: the export is not faithful.",
    ),
)
METRICS = tuple(name for name, *_ in _METRIC_RULES)
# The others are the better, the smaller they are.
BETTER_LARGE = frozenset(
    {"clean_accuracy", "worst_class_recall", "smallest_trigger_area", "onnx_top1_agreement"}
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL} | {
    f"check/{name}": Rule(
        id=f"check/{name}", title=title, explanation=explanation, remedy=remedy, severity="high"
    )
    for name, title, explanation, remedy in _METRIC_RULES
}
