"""Drives a real, headless Chromium; pages are driven from a shell of ours around them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (`make chromium`)"),
]
_SHELL = """<!doctype html><body style="margin:0">
<iframe {sandbox} style="width:{width}px;height:9000px;border:0" src="{uri}"></iframe><script>
onload = () => {{
  const page = document.querySelector("iframe").contentWindow;
  const inner = page.document;
  const told = (() => {{ {script} }})();
  document.title = encodeURIComponent(JSON.stringify(told));
}}</script>"""
_WIDTHS = """
const wide = [...inner.querySelectorAll("main > *")].map(e => e.getBoundingClientRect().right);
return [inner.documentElement.scrollWidth, Math.max(...wide)];
"""


def browse(page: Path, *words: str, profile: Path) -> subprocess.CompletedProcess[str]:
    """Open `page` with the flags `words`; what it prints is Chromium's."""
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


def ask(
    page: Path, script: str, *, folder: Path, width: int = 1280, tail: str = "", inert: bool = False
) -> Any:
    """Run `script` around `page` once it is loaded; give what it returns.

    `tail` is put behind its address. The browser must not complain, unless the page is `inert`:
    then its own scripts are kept from running.
    """
    shell = folder / "shell.html"
    sandbox = 'sandbox="allow-same-origin"' if inert else ""
    shell.write_text(
        _SHELL.format(uri=page.as_uri() + tail, script=script, width=width, sandbox=sandbox),
        encoding="utf-8",
    )
    seen = browse(shell, "--dump-dom", profile=folder)
    assert inert or "CONSOLE" not in seen.stderr
    return json.loads(unquote(seen.stdout.split("<title>")[1].split("</title>")[0]))


def fits_a_phone(page: Path, folder: Path) -> bool:
    """Whether nothing of `page` is wider than 375 pixels."""
    widths = ask(page, _WIDTHS, folder=folder, width=375)
    return len(widths) == 2 and max(widths) <= 375
