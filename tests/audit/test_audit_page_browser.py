"""The page of an audit in a real browser, from a file: thousands of rows, filtered and sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audit_samples import HOSTILE, audit, many, row, small
from chromium import NEEDS_CHROMIUM, ask, browse, fits_a_phone

from gatekeeper.audit.page import draw

pytestmark = NEEDS_CHROMIUM
# What a reader does and sees, in words that the tests share.
HANDS = """
const one = (where) => inner.querySelector(where);
const all = (where) => [...inner.querySelectorAll(where)];
const shown = () => one("#shown").textContent;
const column = (name) => all(`#rows .in-${name}`).map((cell) => cell.firstChild?.textContent);
const type = (words) => {
  one("#query").value = words;
  one("#query").dispatchEvent(new page.Event("input"));
};
const chip = (set, value) => one(`[data-set=${set}][data-value=${value}]`).click();
const sort = (name) => one(`th[data-column=${name}] button`).click();
const hash = () => page.location.hash;
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("site") / "index.html"
    page.write_text(draw(many(5000)), encoding="utf-8")
    return page


def asked(page: Path, script: str, folder: Path, tail: str = "") -> Any:
    return ask(page, HANDS + script, folder=folder, tail=tail)


def test_it_filters_by_words(large: Path, tmp_path: Path) -> None:
    script = """
    const before = shown();
    type("MODEL-7  reason 4957");
    const two = [shown(), column("model"), hash()];
    type("no such thing");
    const none = [shown(), all("#rows tr").length];
    one("#clear").click();
    return [before, two, none, shown(), hash(), one("#clear").hidden, one("#plain")];
    """
    before, two, none, after, hash_, hidden, plain = asked(large, script, tmp_path)
    assert before == after == "1 to 100 of 5,000 versions"
    assert two == ["1 of 5,000 versions", ["model-7"], "#q=MODEL-7++reason+4957"]
    assert none == ["None of 5,000 versions fits.", 0]
    assert (hash_, hidden, plain) == ("", True, None)


def test_chips_narrow_it_and_say_that_they_are_pressed(large: Path, tmp_path: Path) -> None:
    script = """
    one("#attention").click();
    const waiting = shown();
    chip("verdict", "reject");
    const rejected = [shown(), [...new Set(column("verdict"))], hash()];
    chip("change", "new");
    const fresh = [shown(), one("[data-value=new]").getAttribute("aria-pressed")];
    one("#attention").click(); chip("verdict", "reject");
    const without = [shown(), one("[data-value=reject]").getAttribute("aria-pressed")];
    return [waiting, rejected, fresh, without];
    """
    waiting, rejected, fresh, without = asked(large, script, tmp_path)
    assert waiting == "1 to 100 of 1,000 found, 5,000 versions in all"
    assert rejected[:2] == ["1 to 100 of 500 found, 5,000 versions in all", ["reject"]]
    assert rejected[2] == "#attention=1&verdict=reject"
    assert fresh == ["50 of 5,000 versions", "true"]
    assert without == ["50 of 5,000 versions", "false"]


def test_every_column_sorts_both_ways(large: Path, tmp_path: Path) -> None:
    script = """
    return all("th[data-column]").map((head) => {
      const name = head.dataset.column, row = [];
      if (!head.hasAttribute("aria-sort")) sort(name);
      for (const turn of [1, 2]) {
        row.push(head.getAttribute("aria-sort"), column(name), all("[aria-sort]").length);
        sort(name);
      }
      return [name, ...row];
    });
    """
    told = asked(large, script, tmp_path)
    assert len(told) == 11
    for name, up, rising, heads, down, falling, also in told:
        assert (up, down, heads, also) == ("ascending", "descending", 1, 1)
        if name not in ("file", "policy", "report"):  # all the same in these rows
            assert rising != falling, name
    by_name = {name: (rising, falling) for name, _, rising, _, _, falling, _ in told}
    assert by_name["findings"] == (["0"] * 100, ["6"] * 100)
    assert by_name["verdict"] == (["reject"] * 100, ["pass"] * 100)
    assert by_name["version"][1] == [*["99"] * 50, *["98"] * 50]  # as numbers
    assert by_name["age"][1][0] == "364 d"
    assert by_name["digest"][0] == sorted(by_name["digest"][0])


def test_every_control_is_reached_by_the_keyboard(large: Path, tmp_path: Path) -> None:
    script = """
    const controls = all("#all button, #all input, .above button");
    return controls.filter((each) => !each.hidden && !each.disabled).map((each) => {
      each.focus();
      return [each.tagName, inner.activeElement === each || each.offsetParent === null];
    });
    """
    told = asked(large, script, tmp_path)
    assert len(told) > 20
    assert all(name in ("BUTTON", "INPUT") and reached for name, reached in told)


def test_the_address_brings_back_filter_order_and_page(large: Path, tmp_path: Path) -> None:
    script = """return [shown(), column("findings")[0], hash(), one("#query").value,
      one("[data-value=pass]").getAttribute("aria-pressed"), one("#page").textContent];"""
    tail = "#q=model-3&verdict=pass,nonsense&sort=-findings&page=2&other=1"
    told = asked(large, script, tmp_path, tail)
    assert told == ["101 to 200 of 900 found, 5,000 versions in all", "6", tail, "model-3", "true",
                    "Page 2 of 9"]  # fmt: skip
    odd = "#sort=__proto__&page=-3&verdict=constructor&change=%00&q=%"
    assert asked(large, "return [shown(), column('model').length];", tmp_path, odd) == [
        "None of 5,000 versions fits.", 0,
    ]  # fmt: skip


def test_links_above_lead_into_the_table(large: Path, tmp_path: Path) -> None:
    script = """
      one("a[href='#change=new']").click();
      page.dispatchEvent(new page.Event("hashchange"));  // else it comes after the answer
      return [shown(), hash(), one("#all").getBoundingClientRect().top < 2000];"""
    assert asked(large, script, tmp_path)[:2] == ["50 of 5,000 versions", "#change=new"]


def test_ten_thousand_rows_answer_within_a_blink(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(draw(many(10_000)), encoding="utf-8")
    script = """
    const timed = (act) => {
      const start = performance.now();
      act();
      return performance.now() - start;
    };
    return {
      words: timed(() => type("reason 99")), nothing: timed(() => type("zzz")),
      all: timed(() => type("")), sorted: timed(() => sort("reason")),
      again: timed(() => sort("model")), chip: timed(() => chip("verdict", "reject")),
    };
    """
    taken = asked(page, script, tmp_path)
    assert max(taken.values()) < 1000, taken  # a tenth of it where nothing else runs


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hostile_name_runs_or_stretches_it(tmp_path: Path, kind: str) -> None:
    words = HOSTILE[kind]
    bad = row(
        model=words, version=words, file=words, reason=words, policy=words, report=words,
        decision="reject", accepted=False, change="new", before=None,
    )  # fmt: skip
    page = tmp_path / "index.html"
    page.write_text(draw(audit([bad, row()], registry=words)), encoding="utf-8")
    script = """return [all("script").length, all("#all script, #all img, #all svg, #all b").length,
      column("model").length, inner.title.startsWith("1 rejected"),
      all("main a").every((link) => link.href.startsWith(new URL(".", inner.URL).href))];"""
    assert asked(page, script, tmp_path) == [2, 0, 2, True, True]
    assert fits_a_phone(page, tmp_path)


def requested(page: Path, folder: Path) -> str:
    """All that Chromium noted about requests while it showed `page`."""
    log = folder / "net.json"
    browse(page, "--dump-dom", f"--log-net-log={log}", profile=folder)
    return log.read_text(encoding="utf-8")


def test_it_asks_the_network_for_nothing(tmp_path: Path) -> None:
    elsewhere = "http://127.0.0.1:9"
    markup = f"<img src='{elsewhere}/x.png'><link rel=stylesheet href='{elsewhere}/x.css'>"
    page = tmp_path / "index.html"
    page.write_text(markup, encoding="utf-8")
    assert elsewhere in requested(page, tmp_path)
    page.write_text(draw(audit([row(model=markup, reason=markup)])), encoding="utf-8")
    assert elsewhere not in requested(page, tmp_path)


def test_without_scripts_it_shows_what_needs_attention(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(draw(small()), encoding="utf-8")
    script = """
    const rows = inner.querySelectorAll("#plain tbody tr");
    return [rows.length, inner.querySelector("#plain")?.checkVisibility() ?? false,
      inner.querySelector("#all").checkVisibility()];
    """
    assert ask(page, script, folder=tmp_path, inert=True) == [4, True, False]
    assert ask(page, script, folder=tmp_path) == [0, False, True]


def test_it_fits_a_phone_and_prints(large: Path, tmp_path: Path) -> None:
    assert fits_a_phone(large, tmp_path)
    paper = tmp_path / "audit.pdf"
    browse(large, f"--print-to-pdf={paper}", profile=tmp_path)
    assert paper.read_bytes().startswith(b"%PDF")
