"""The page is self-contained, inert, complete, and survives the lack of any of its parts."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from full_record import HOSTILE, PLAIN, full_record, png

from gatekeeper.records import Epoch, Finding, GateRecord, LayerNorms, Measure
from gatekeeper.report import render

TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "p", "ul",
    "li", "span", "strong", "b", "small", "code", "div", "table", "thead", "tbody", "tr", "th",
    "td", "details", "summary", "figure", "figcaption", "img", "dl", "dt", "dd", "br",
    "svg", "line", "text", "circle", "rect", "polyline",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "scope", "data-label", "alt",
    "src", "viewbox", "role", "preserveaspectratio", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy",
    "r", "width", "height", "text-anchor", "points",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and whether each opened tag is closed."""

    VOID = frozenset({"meta", "img", "br", "line", "circle", "rect", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.stack.pop() == tag


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_stay_words(words: str) -> None:
    drawn = render(full_record(words), "html")
    page = Page(drawn)
    assert page.tags <= TAGS
    assert set(page.attributes) <= ATTRIBUTES
    assert page.stack == []
    assert page.attributes["src"] == {f"data:image/png;base64,{png()}"}
    assert all(sign.isprintable() or sign == "\n" for sign in drawn)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_are_shown_and_not_swallowed(words: str) -> None:
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words)
    told = html.unescape(render(full_record(words), "html"))
    assert f"<li>{shown}</li>" in told


def test_nothing_is_loaded_from_elsewhere() -> None:
    drawn = render(full_record(), "html")
    assert not re.search(r"@import|url\(|<link|<script|<iframe|srcset|href", drawn, re.IGNORECASE)
    assert not re.search(r"(src|content)\s*=\s*[\"']?\s*(https?:)?//", drawn, re.IGNORECASE)
    assert "default-src 'none'" in drawn


def test_the_verdict_comes_first_and_everything_is_there() -> None:
    told = html.unescape(render(full_record(), "html"))
    parts = [
        "HARDENED", "What the policy asks", "Findings", "What the screens saw",
        "What was not checked", "Triggers that the gate recovered", "Weight norms",
        "Recall of each class", "Purification", "Waivers", "Provenance", "Words used here",
        "What this cannot show",
    ]  # fmt: skip
    places = [told.index(part) for part in parts]
    assert places == sorted(places)
    for digest in "cdef9":
        assert digest * 64 in told
    for piece in ("byte 12", "unit 1", "waived", "Attempt 2:", "own process", "not reached"):
        assert piece in told
    assert "Attempt 1:" not in told  # it has no history to draw
    assert "None" not in told.split("<body>")[1]


def test_bounds_and_measures_speak_of_percent() -> None:
    told = render(full_record(), "html")
    assert "at least 80 %" in told
    assert "50.00 %" in told
    assert "[49.00, 51.00]" in told


def test_the_attempt_that_was_kept_is_marked() -> None:
    told = full_record().purification
    assert told is not None
    chosen = told.attempts[-1]
    again = replace(chosen, settings={**chosen.settings, "images": 9}, history=(), final=True)
    dropped = replace(again, outcome="refused")
    for attempt, settings, kept in (
        (again, again.settings, ["diverged", "accepted", "accepted, kept"]),
        (dropped, chosen.settings, ["diverged", "accepted, kept", "refused"]),
    ):
        attempts = (*told.attempts, attempt)
        record = without(purification=replace(told, attempts=attempts, settings=settings))
        drawn = render(record, "html")
        assert (
            re.findall(r"data-label=\"Outcome\"[^>]*>((?:diverged|accepted|refused)[^<]*)", drawn)
            == kept
        )
        assert "tuned once more, on all the images" in drawn


def without(**parts: Any) -> GateRecord:
    return replace(full_record(), **parts)


@pytest.mark.parametrize(
    ("record", "gone"),
    [
        (without(checks=()), "What the policy asks"),
        (without(screens={}), "What the screens saw"),
        (without(triggers=()), "Triggers that the gate"),
        (without(norms=()), "Weight norms"),
        (without(verification=None), "Recall of each class"),
        (without(purification=None), "<h2>Purification"),
        (without(waivers=()), "Waivers"),
        (without(data=None), "held out"),
        (without(outputs=replace(full_record().outputs, onnx=None)), "opset"),
        (without(quarantine=replace(full_record().quarantine, protections=())), "own process"),
        (without(environment={}, timings={}, card={}), "came with the candidate"),
    ],
)
def test_a_part_that_is_missing_leaves_no_hole(record: GateRecord, gone: str) -> None:
    drawn = render(record, "html")
    assert gone not in drawn
    assert Page(drawn).stack == []
    assert "HARDENED" in drawn


def test_what_is_not_there_is_said() -> None:
    assert "Nothing was left out." in render(without(skipped=()), "html")
    assert "<p>None.</p>" in render(without(skipped=(), findings=()), "html")
    assert "as far as the gate could look" in render(without(findings=()), "html")
    blocked = without(outputs=replace(full_record().outputs, onnx=None))
    assert "nothing here may be deployed" in render(blocked, "html")


def test_a_candidate_alone_has_no_column_for_a_purified_network() -> None:
    record = full_record()
    checks = tuple(check for check in record.checks if check.subject == "candidate")
    alone = replace(record, checks=checks, purification=None, norms=(), verification=None)
    assert "Purified network</th>" not in render(alone, "html")


def test_many_findings_are_folded_and_none_is_dropped() -> None:
    found = tuple(
        Finding(rule_id="norm-outlier", screen="x", severity="low", message=f"unit number {k}.")
        for k in range(40)
    )
    drawn = render(without(findings=found), "html")
    assert "36 more" in drawn
    assert all(f"unit number {k}." in drawn for k in range(40))


def test_of_many_classes_the_worst_are_drawn_and_that_is_said() -> None:
    record = full_record()
    recalls = {
        f"recall:class{k:03}": Measure(name="recall", value=k / 100, low=0.0, high=1.0, n=50)
        for k in range(100)
    }
    assert record.verification is not None
    many = replace(record, verification=replace(record.verification, before=recalls, after=None))
    drawn = render(many, "html")
    assert "60 worst of 100 classes" in drawn
    assert ">class000<" in drawn
    assert ">class099<" not in drawn


@pytest.mark.parametrize("norms", [(), (None,), (0.0, 0.0), (None, 3.0), (1e-30, 1e30), (-1.0,)])
def test_odd_norms_are_drawn_or_left_out(norms: tuple[float | None, ...]) -> None:
    layer = LayerNorms(layer="odd", kind="conv", before=norms, after=norms)
    drawn = render(without(norms=(layer,), assessment=None), "html")
    places = [float(x) for x in re.findall(r'cx="([-\d.]+)"', drawn)]
    assert all(0 <= x <= 720 for x in places)
    assert len(places) == 2 * sum(value is not None and value > 0 for value in norms)


def test_a_wide_layer_is_drawn_with_its_largest_units() -> None:
    wide = (*(1.0 + k / 10_000 for k in range(5000)), 50.0)
    layer = LayerNorms(layer="wide", kind="linear", before=wide)
    drawn = render(without(norms=(layer,)), "html")
    assert drawn.count("<circle") <= 500
    assert max(float(x) for x in re.findall(r'cx="([-\d.]+)"', drawn)) > 600


def test_a_diverged_history_is_drawn_as_far_as_it_goes() -> None:
    record = full_record()
    assert record.purification is not None
    losses = (1.0, None, None)
    history = tuple(Epoch(epoch=k, loss=x, learning_rate=0.1) for k, x in enumerate(losses, 1))
    attempt = replace(record.purification.attempts[1], history=history)
    diverged = replace(record, purification=replace(record.purification, attempts=(attempt,)))
    assert "Attempt 1:" in render(diverged, "html")


def test_plain_words_are_plain() -> None:
    assert render(full_record(PLAIN), "html").count("\N{REPLACEMENT CHARACTER}") == 0
