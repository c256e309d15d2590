"""The report in a real browser: it renders, complains of nothing, and fits a phone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from full_record import HOSTILE, full_record

from gatekeeper.report import render

SAMPLE = Path(__file__).resolve().parent.parent.parent / "reports/samples/report.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (`make chromium`)"),
]
# Measured in the page around the report, which itself runs no script.
_PHONE = """<!doctype html><body style="margin:0"><iframe style="width:375px;height:9000px;border:0"
src="{uri}"></iframe><script>
onload = () => {{
  const inner = document.querySelector("iframe").contentDocument;
  const wide = [...inner.querySelectorAll("main > *")].map(e => e.getBoundingClientRect().right);
  document.title = JSON.stringify([inner.documentElement.scrollWidth, Math.max(...wide)]);
}}</script>"""


def browse(page: Path, *words: str, profile: Path) -> subprocess.CompletedProcess[str]:
    flags = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={profile}",
    )  # fmt: skip
    return subprocess.run(
        [str(CHROMIUM), *flags, *words, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


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


def fits_a_phone(page: Path, folder: Path) -> bool:
    shell = folder / "phone.html"
    shell.write_text(_PHONE.format(uri=page.as_uri()), encoding="utf-8")
    seen = browse(shell, "--dump-dom", profile=folder).stdout
    title = seen.split("<title>")[1].split("</title>")[0]
    widths = [float(width) for width in title.strip("[]").split(",")]
    return len(widths) == 2 and max(widths) <= 375


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
