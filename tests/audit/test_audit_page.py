"""The page of an audit: self-contained, inert to what names say, and the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest
from audit_samples import HOSTILE, audit, days_ago, many, row, small
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.audit.page import draw
from gatekeeper.audit.page_rows import embedded, lines, safe_link
from gatekeeper.audit.summary import Audit
from gatekeeper.audit.summary_file import read_audit, write_audit
from gatekeeper.foreign_text import visible

SAMPLES = Path(__file__).resolve().parent.parent.parent / "reports/samples"
WORDS = st.lists(
    st.sampled_from([*HOSTILE.values(), "<", "/script", "!--", "&lt;", "]]>"])
    | st.text(st.characters(), max_size=20)
).map("".join)


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.held: dict[str, list[str]] = {"script": [], "style": []}
        self.words = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside = tag
        if tag in self.held:
            self.held[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.held:
            self.held[self._inside][-1] += data
        else:
            self.words += data

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.attributes if found == name]

    def rows(self) -> list[dict[str, Any]]:
        packed = json.loads(self.held["script"][0])
        return [dict(zip(packed["fields"], values, strict=True)) for values in packed["rows"]]


def test_the_samples_are_what_would_be_drawn_now(pytestconfig: pytest.Config) -> None:
    told, page = SAMPLES / "audit.json", SAMPLES / "audit.html"
    if pytestconfig.getoption("--update-golden"):
        told.write_text(write_audit(small()), encoding="utf-8")
        page.write_text(draw(small()), encoding="utf-8")
    held = read_audit(told.read_text(encoding="utf-8"), "sample")
    assert held == small()
    assert page.read_text(encoding="utf-8") == draw(held)


def expected(words: str) -> Audit:
    told = row(
        model=words, version=words, address=words, file=words, reason=words, policy=words,
        sha256=words, report=words, judged_at=words, since=words, decision="reject",
        change="verdict",
    )  # fmt: skip
    return audit([told, row()], registry=words, tool=words, started_at=words)


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_no_name_breaks_out(words: str) -> None:
    plain = Page(draw(expected("plain words")))
    drawn = draw(expected(words))
    drawn.encode()  # can be written
    page = Page(drawn)
    assert [tag for tag in page.tags if tag != "a"] == [tag for tag in plain.tags if tag != "a"]
    assert page.tags.count("script") == 2
    assert page.held["style"] == plain.held["style"]
    assert page.held["script"][1] == plain.held["script"][1]
    assert {name for name, _ in page.attributes} == {name for name, _ in plain.attributes}
    (told,) = [one for one in page.rows() if one["decision"] == "reject"]
    assert told["model"] == told["version"] == told["file"] == visible(words)
    signs = set(drawn) - {"\n"}
    assert all(sign.isprintable() for sign in signs)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_each_known_trick_stays_words(words: str) -> None:
    page = Page(draw(expected(words)))
    assert page.tags.count("script") == 2
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "owned" not in page.held["script"][1]


@given(st.lists(WORDS, max_size=5))
def test_embedded_rows_come_back_and_hold_no_sign_of_markup(names: list[str]) -> None:
    told = embedded(lines(audit([row(model=name) for name in names])))
    assert told.isascii()
    assert not set(told) & set("<>&\x7f\n")
    packed = json.loads(told)
    model = packed["fields"].index("model")
    assert sorted(one[model] for one in packed["rows"]) == sorted(map(visible, names))


def test_the_content_policy_allows_what_is_there_and_nothing_else() -> None:
    page = Page(draw(small()))
    (policy,) = [one for one in page.all("content") if "default-src" in one]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for kind, content in (("style", page.held["style"][0]), ("script", page.held["script"][1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not {"style", "src", "srcset", "action"} & {name for name, _ in page.attributes}
    assert not re.search(r"@import|url\(", page.held["style"][0])
    script = page.held["script"][1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch", script)
    assert not re.search(r"</script|<!--", script, re.IGNORECASE)


@pytest.mark.parametrize(
    "path",
    ["reports/a b/report.html", "./a/report.html", "a/../b/report.html", "näher/#1?/r%41.html"],
)
def test_a_path_below_the_page_becomes_a_link(path: str) -> None:
    link = safe_link(path)
    at = urljoin("file:///site/index.html", link)
    assert at.startswith("file:///site/")
    assert unquote(at).endswith(path.replace("a/../", "").removeprefix("./"))


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "a/..", "a/", "/etc/passwd", "//host/x", "\\\\host\\x", "a\\..\\..\\x",
        "../x", "a/../../x", "javascript:alert(1)", " javascript:alert(1)", "https://host/x",
        "file:///etc", "C:/x", "java\nscript:x", "a/\tb", "a//b", "\u202ea", "caf\udce9",
        "data:text/html,x", "JAVASCRIPT&colon;x/../:",
    ],
)  # fmt: skip
def test_any_other_path_becomes_none(path: str) -> None:
    link = safe_link(path)
    assert link == "" or urljoin("file:///site/index.html", link).startswith("file:///site/")
    if path != "JAVASCRIPT&colon;x/../:":
        assert link == ""


@given(st.text(st.sampled_from("ab./\\:%?#&\t\n ") | st.characters(), max_size=30))
def test_no_path_leads_out(path: str) -> None:
    link = safe_link(path)
    assert re.fullmatch(r"[A-Za-z0-9_.~/%-]*", link)
    at = urljoin("https://site/folder/index.html", link)
    assert at.startswith("https://site/folder/")


def test_only_safe_links_are_in_the_page() -> None:
    rows = [
        row(model="bad", report="javascript:alert(1)", decision="reject", accepted=False),
        row(model="good", report="reports/1/report.html", decision="reject", accepted=False),
    ]
    page = Page(draw(audit(rows)))
    links = {link for link in page.all("href") if not link.startswith("#")}
    assert links == {"reports/1/report.html"}
    assert {one["report"] for one in page.rows()} == {"", "reports/1/report.html"}


def test_the_page_says_what_a_lead_needs() -> None:
    words = " ".join(Page(draw(small())).words.split())
    parts = (
        "2 rejected, 1 undecided, 1 hardened but not accepted", "of 11 versions", "Exit code 1",
        "Audit 3, finished 2026-02-03 04:12 UTC , took 37 min", "Scans run: 5",
        "What changed since audit 2 of 2026-01-27 04:12 UTC", "1 pass → reject",
        "1 undecided → pass", "Changed, and not accepted", "Trend", "Every version",
    )  # fmt: skip
    for part in parts:
        assert part.replace(" ,", ",") in words.replace(" ,", ",")
    order = [words.index(part) for part in ("2 rejected", "What changed", "Trend", "Every version")]
    assert order == sorted(order)


def test_ages_count_from_the_end_of_the_audit() -> None:
    told = {one["model"]: one for one in Page(draw(small())).rows()}
    assert told["leaf-disease"]["stood"] == "70 d"
    assert told["leaf-disease"]["scanned"] == ""
    assert told["parking"]["stood"] == "this audit"
    assert told["xray"]["scanned"] == "never scanned"
    older = row(judged_at=days_ago(3), since=days_ago(0.2), kept=True)
    (one,) = lines(audit([older]))
    assert (one.stood, one.scanned) == ("4 h", "scanned 3 d ago")
    (odd,) = lines(audit([row(since="soon", judged_at="then")]))
    assert (odd.age, odd.stood) == (-1, "–")


def test_versions_stand_as_people_count_them() -> None:
    told = [one["version"] for one in Page(draw(small())).rows() if one["model"] == "leaf-disease"]
    assert told == ["1", "2", "9", "10"]


def test_the_order_of_the_rows_changes_nothing() -> None:
    held = small()
    assert draw(held) == draw(replace(held, rows=held.rows[::-1]))
    assert draw(held) == draw(held)


@pytest.mark.parametrize(
    ("told", "standing", "words"),
    [
        ({}, "pass", "All accepted"),
        ({"exit_code": 3}, "undecided", "All accepted"),
        ({"exit_code": 1}, "reject", "All accepted"),
        ({"exit_code": 130}, "undecided", "could not finish"),
        ({"rows": ()}, "pass", "All accepted"),
    ],
)
def test_the_colour_is_never_better_than_the_exit_code(
    told: dict[str, Any], standing: str, words: str
) -> None:
    page = Page(draw(replace(audit([row()]), **told)))
    assert f"verdict {standing}" in page.all("class")
    assert words in page.words


def test_a_green_exit_code_hides_no_row() -> None:
    bad = audit([row(decision="hardened", accepted=False)], exit_code=0)
    page = Page(draw(bad))
    assert "verdict undecided" in page.all("class")
    assert "1 hardened but not accepted" in page.words


def test_what_is_gone_asks_for_nothing_and_counts_as_nothing() -> None:
    page = Page(draw(audit([row(), row(model="x", decision="reject", change="gone")])))
    assert "All accepted" in page.words
    assert [one["attention"] for one in page.rows()] == [False, False]


def test_a_first_audit_and_an_empty_one_are_drawn() -> None:
    first = audit([row(change="new", before=None)], trend=())
    assert "This is the first audit" in Page(draw(first)).words
    empty = audit([], trend=audit([]).trend[-1:])
    assert "No version in this registry" in Page(draw(empty)).words


def test_the_plain_table_is_bounded_and_says_so() -> None:
    page = Page(draw(many(5000)))
    assert "The first 500 of 1,000 versions" in " ".join(page.words.split())
    assert page.tags.count("tr") < 560
    assert len(page.rows()) == 5000


def test_the_trend_has_axes_and_a_bar_for_each_audit() -> None:
    page = Page(draw(small()))
    assert page.tags.count("svg") == 2
    assert page.tags.count("rect") == 3 * 2 + 3 * 4
    for words in ("versions", "end of each audit", "2026-01-20", "2026-02-03"):
        assert words in page.words


def test_a_long_trend_keeps_its_end_and_says_so() -> None:
    last = small().trend[-1]
    page = Page(draw(replace(small(), trend=(last,) * 80)))
    assert page.tags.count("rect") == 52 * 6
    assert "28 earlier ones are left out" in page.words


def test_what_kept_an_audit_from_being_whole_stands_at_the_top() -> None:
    page = draw(replace(small(), troubles=("the list broke off: <b>503</b>",), exit_code=3))
    assert "Not whole:" in page
    assert "the list broke off: &lt;b&gt;503&lt;/b&gt;" in page
