"""Tells a webhook of an audit: a JSON body, and a signature that its receiver can check."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from typing import Any

from gatekeeper.audit.config import Webhook, secret_of
from gatekeeper.audit.summary import Audit
from gatekeeper.errors import RegistryError
from gatekeeper.records import jsonable

SIGNATURE = "X-Gatekeeper-Signature"  # t=SECONDS,v1=HEX of HMAC-SHA256 over `SECONDS.BODY`
_MOST_ROWS = 100
_SECONDS = 10.0  # until a receiver that does not answer is given up
_TRIES = 3
PAUSE = 1.0  # seconds before the second try; twice as many before the third


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it would turn the message into a request for a page."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse, so that the answer counts as the error that it is."""


_OPENER = urllib.request.build_opener(_Straight)


def body_of(audit: Audit) -> dict[str, Any]:
    """Say how the registry stands, and what changed; at most 100 versions are named."""
    news = [row for row in audit.rows if row.change != "same"]
    named = ("model", "version", "decision", "accepted", "change", "before", "reason", "sha256")
    return {
        "event": "gatekeeper.audit",
        "registry": audit.registry,
        "audit": audit.number,
        "finished_at": audit.finished_at,
        "exit_code": audit.exit_code,
        "counts": asdict(audit.counts),
        "troubles": audit.troubles,
        "changed": [{name: getattr(row, name) for name in named} for row in news[:_MOST_ROWS]],
        "changed_in_all": len(news),
    }


def signature(secret: str, body: bytes, at: int) -> str:
    """Sign `body` as of `at` (seconds since 1970), so that an old message cannot be sent again."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def send(webhook: Webhook, audit: Audit) -> None:
    """Post the audit's outcome.

    Raises:
        ConfigError: the secret is not in the environment.
        RegistryError: nobody took it in three tries.
    """
    body = json.dumps(jsonable(body_of(audit)), allow_nan=False).encode()
    secret, told = secret_of(webhook), ""
    for tried in range(_TRIES):
        time.sleep(tried * PAUSE)
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(secret, body, int(time.time())),
        }
        request = urllib.request.Request(webhook.url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):
                return
        except (OSError, ValueError) as error:
            told = str(getattr(error, "reason", None) or error)
    message = f"the webhook did not take the message: {told}"
    raise RegistryError(message, hint="The audit itself is whole; see that the receiver runs.")
