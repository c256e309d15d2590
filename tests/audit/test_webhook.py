"""A real receiver on loopback gets what was signed, and a silent one holds nothing up for long."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from audit_samples import many, small

from gatekeeper.audit import webhook
from gatekeeper.audit.config import Webhook
from gatekeeper.errors import ConfigError, RegistryError

SECRET = "a secret of the receiver"


class Receiver(HTTPServer):
    """Keeps what it was sent; answers each message with the next of `answers`, then 200."""

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.got: list[tuple[str, bytes]] = []
        self.address = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers[webhook.SIGNATURE], body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr(webhook, "PAUSE", 0.0)
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_receiver_can_tell_who_sent_it(receiver: Receiver) -> None:
    webhook.send(Webhook(url=receiver.address, secret_env="HOOK_SECRET"), small())
    ((header, body),) = receiver.got
    at, signed = (part.split("=", 1)[1] for part in header.split(","))
    expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signed, expected)
    read = json.loads(body)
    assert (read["event"], read["exit_code"]) == ("gatekeeper.audit", small().exit_code)
    assert read["counts"]["rejected"] == small().counts.rejected
    assert all(row["change"] != "same" for row in read["changed"])


def test_a_receiver_that_stumbles_is_told_again(receiver: Receiver) -> None:
    receiver.answers = [503, 500]
    webhook.send(Webhook(url=receiver.address, secret_env="HOOK_SECRET"), small())
    assert len(receiver.got) == 3


def test_a_receiver_that_refuses_is_a_trouble_that_is_told(receiver: Receiver) -> None:
    receiver.answers = [500] * 9
    with pytest.raises(RegistryError, match="did not take the message"):
        webhook.send(Webhook(url=receiver.address, secret_env="HOOK_SECRET"), small())
    assert len(receiver.got) == 3


def test_a_message_stays_small(receiver: Receiver) -> None:
    webhook.send(Webhook(url=receiver.address, secret_env="HOOK_SECRET"), many(20_000))
    ((_, body),) = receiver.got
    assert len(json.loads(body)["changed"]) <= 100
    assert json.loads(body)["changed_in_all"] > 100


def test_without_a_secret_nothing_is_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    with pytest.raises(ConfigError, match="HOOK_SECRET is empty"):
        webhook.send(Webhook(url=receiver.address, secret_env="HOOK_SECRET"), small())
    assert receiver.got == []
