"""The report in a real browser: it renders, complains of nothing, and fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import NEEDS_CHROMIUM, browse, fits_a_phone
from full_record import HOSTILE, full_record

from gatekeeper.report import render

SAMPLE = Path(__file__).resolve().parent.parent.parent / "reports/samples/report.html"
pytestmark = NEEDS_CHROMIUM


def test_it_is_read_without_complaint(tmp_path: Path) -> None:
    seen = browse(SAMPLE, "--dump-dom", profile=tmp_path)
    assert "HARDENED" in seen.stdout
    assert "</main>" in seen.stdout
    assert "CONSOLE" not in seen.stderr


@pytest.mark.parametrize("scheme", ["0", "1"])
def test_it_is_painted_in_dark_and_light(tmp_path: Path, scheme: str) -> None:
    picture = tmp_path / "page.png"
    browse(
        SAMPLE, f"--screenshot={picture}", "--window-size=1280,2400",
        f"--blink-settings=preferredColorScheme={scheme}", profile=tmp_path,
    )  # fmt: skip
    from PIL import Image

    with Image.open(picture) as opened:
        red, green, blue = opened.convert("RGB").getpixel((4, 2000))  # type: ignore[misc]
        shades = len(set(opened.convert("L").resize((64, 64)).tobytes()))
    bright = (red + green + blue) / 3
    assert bright < 60 if scheme == "0" else bright > 200
    assert shades > 10


def test_it_fits_a_phone(tmp_path: Path) -> None:
    assert fits_a_phone(SAMPLE, tmp_path)


@pytest.mark.parametrize("kind", ["long", "markup"])
def test_hostile_words_neither_run_nor_stretch_it(tmp_path: Path, kind: str) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(render(full_record(HOSTILE[kind]), "html"), encoding="utf-8")
    seen = browse(page, "--dump-dom", profile=tmp_path)
    assert "CONSOLE" not in seen.stderr
    assert "<script" not in seen.stdout
    assert fits_a_phone(page, tmp_path)


def test_it_prints(tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(SAMPLE, f"--print-to-pdf={paper}", profile=tmp_path)
    assert paper.read_bytes().startswith(b"%PDF")
