"""Pictures of pages for the demo, by a Chromium that is installed or not."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server",
)  # fmt: skip
_LOADS = 20_000  # milliseconds of a page's own time, for one that asks its server


def screenshot(address: str, into: Path, *, height: int = 1000) -> str:
    """Draw the page at `address` as a PNG; gives the reason where that is not possible."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return "no Chromium is installed (`make chromium`)"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [
            browser, *_FLAGS, f"--user-data-dir={profile}", f"--window-size=1400,{height}",
            f"--virtual-time-budget={_LOADS}", f"--screenshot={into.resolve()}", address,
        ]  # fmt: skip
        try:
            subprocess.run(words, capture_output=True, timeout=120, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return f"Chromium did not draw it: {error}"
    return "" if into.is_file() else "Chromium drew nothing"
