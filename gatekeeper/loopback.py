"""Starts a server of somebody else's on loopback, waits until it answers, and stops it again."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gatekeeper.errors import GatekeeperError

HOST = "127.0.0.1"
_STARTING = 180.0  # seconds
_ENDING = 15.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def free_port() -> int:
    """Give a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    words: Sequence[str], *, alive: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run the server `words` until the end of the block; it answers at the URL `alive` by then.

    Raises:
        GatekeeperError: it ended, or did not answer in three minutes; `log` is named.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as written:
        # A session of its own: Ctrl-C is for us, who stop it after what still talks to it.
        server = subprocess.Popen(
            words, stdout=written, stderr=written, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=_die_with_parent, env={**os.environ, **(env or {})},
        )  # fmt: skip
    try:
        _wait(server, alive, log)
        yield
    finally:
        _stop(server)


@contextmanager
def prefect_server(
    log: Path, *, home: Path | None = None, port: int = 0, secret: str = ""
) -> Iterator[str]:
    """Run Prefect's server, its pages and its scheduler; gives the address of its interface.

    `secret` (NAME:PASSWORD) is then asked of everyone but for whether the server is well.

    Raises:
        GatekeeperError: it does not start.
    """
    port = port or free_port()
    url = f"http://{HOST}:{port}/api"
    # Its pages would look for it at the port that it has by default.
    environment = {"PREFECT_SERVER_UI_API_URL": url, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    # By itself it lets the pages of any site ask it.
    environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{HOST}:{port}"
    environment |= {"PREFECT_SERVER_API_AUTH_STRING": secret} if secret else {}
    environment |= {"DO_NOT_TRACK": "1"} | ({"PREFECT_HOME": str(home)} if home else {})
    words = [sys.executable, "-P", "-m", "prefect", "server", "start", "--host", HOST]
    words += ["--port", str(port)]
    with serving(words, alive=f"{url}/health", log=log, env=environment):
        yield url


def opened(request: str | urllib.request.Request, seconds: float) -> Any:
    """Open an address of this machine, whatever proxy the shell names for the world outside."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(request, timeout=seconds)


def asked(request: urllib.request.Request) -> Any:
    """Give the JSON that a server answers.

    Raises:
        GatekeeperError: it refuses, or is gone.
    """
    try:
        with opened(request, 30) as answer:
            return json.loads(answer.read() or b"{}")
    except (OSError, ValueError) as error:
        message = f"{request.full_url} gave no answer: {error}"
        raise GatekeeperError(message) from None


def posting(url: str, content: Any) -> urllib.request.Request:
    """Give the request that posts `content` as JSON."""
    body = json.dumps(content).encode()
    return urllib.request.Request(url, body, {"Content-Type": "application/json"})


def answers(url: str) -> bool:
    """Tell whether anybody answers with success at `url`."""
    try:
        with opened(url, 5):
            return True
    except (OSError, ValueError):
        return False


def _wait(server: subprocess.Popen[bytes], alive: str, log: Path) -> None:
    until = time.monotonic() + _STARTING
    while not answers(alive):
        if server.poll() is not None or time.monotonic() > until:
            how = "does not answer" if server.returncode is None else "ended at once"
            message = f"the server at {alive} {how}"
            raise GatekeeperError(message, hint=f"Its own words are in {log}.")
        time.sleep(0.3)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_ENDING)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
