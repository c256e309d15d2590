"""The ledger keeps its promises on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from gatekeeper.errors import LedgerError, UsageError
from gatekeeper.ledger import claims
from gatekeeper.ledger.book import Ledger
from gatekeeper.ledger.entries import Judgement, Seen

NOW = "2026-11-22T10:00:00+00:00"
JUDGED = Judgement(
    key="k" * 64, artifact_sha256="a" * 64, decision="pass", accepted=True, reason="meets it",
    findings=0, bytes=12, policy="ci", policy_sha256="p" * 64, run="runs/k", judged_at=NOW,
    seconds=1.5, final=True,
)  # fmt: skip
SEEN = Seen(
    model="digits", version="1", fingerprint="f", file="model.pt", artifact_sha256="a" * 64,
    key=JUDGED.key, decision="pass", accepted=True, reason="meets it", since=NOW,
)  # fmt: skip
DEAD = """
import os, sys
from gatekeeper.ledger.book import Ledger
print(Ledger(sys.argv[1]).claim("k"), flush=True)
os.kill(os.getpid(), 9)
"""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    else:
        yield request.getfixturevalue("postgres")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    book = Ledger(url)
    yield book
    book.close()


def test_what_was_settled_is_known_to_the_next_worker(ledger: Ledger, url: str) -> None:
    assert ledger.judgement(JUDGED.key) is None
    ledger.settle(JUDGED)
    ledger.settle(replace(JUDGED, decision="reject", accepted=False))
    with_new_eyes = Ledger(url)
    with_new_eyes.keep("r", with_new_eyes.begin("r", tool="1", at=NOW), NOW, [(SEEN, "new")])
    assert with_new_eyes.judgements("elsewhere") == {}
    assert with_new_eyes.judgements("r") == {
        JUDGED.key: replace(JUDGED, decision="reject", accepted=False)
    }
    with_new_eyes.close()


def test_a_key_is_judged_by_one_at_a_time(ledger: Ledger, url: str) -> None:
    other = Ledger(url)
    assert ledger.claim("k") is None
    assert ledger.claim("k") == "this audit"  # another thread of the same process
    assert other.claim("k") == ledger.owner
    assert not other.is_free("k")
    assert other.claim("another") is None
    ledger.release("k")
    assert other.is_free("k")
    assert other.claim("k") is None
    other.close()
    assert ledger.claim("k") is None  # who leaves lets go


def test_a_claim_ends_with_the_process_that_held_it(ledger: Ledger, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEAD, url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (-9, ["None"])
    assert ledger.is_free("k")
    assert ledger.claim("k") is None


def test_a_claim_of_a_silent_machine_may_be_taken_over(
    ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    afar = Ledger(url)
    afar.__dict__["owner"] = "elsewhere/boot/pid:[1]/77/123/abcd"
    assert afar.claim("k") is None
    assert ledger.claim("k") == afar.owner
    monkeypatch.setattr(claims, "LEASE", 0.0)
    assert ledger.claim("k") is None
    afar.release("k")  # too late: it is another's by now
    monkeypatch.undo()
    assert not ledger.is_free("k")
    afar.close()


def test_history_tells_every_change_and_its_verdict(ledger: Ledger) -> None:
    ledger.settle(JUDGED)
    first = ledger.begin("models", tool="1", at=NOW)
    ledger.keep("models", first, NOW, [(SEEN, "new"), (replace(SEEN, model="other"), "new")])
    second = ledger.begin("models", tool="1", at=NOW)
    changed = replace(SEEN, decision="reject", accepted=False, key="", reason="evil.pkl")
    ledger.keep("models", second, NOW, [(changed, "content")])
    ledger.keep("models", second, NOW, [(replace(changed, published="x"), None)])  # no news
    past = ledger.history("digits")
    assert [(one.audit, one.change, one.decision, one.policy) for one in past] == [
        (first, "new", "pass", "ci"),
        (second, "content", "reject", ""),
    ]
    assert set(ledger.models()) == {"digits", "other"}
    assert ledger.seen("models")["digits", "1"].published == "x"
    assert ledger.seen("elsewhere") == {}


def test_the_trend_leaves_out_what_was_killed(ledger: Ledger) -> None:
    ended = {"finished_at": NOW, "exit_code": 1, "judged": 3}
    counts = {"passed": 1, "hardened": 2, "rejected": 3, "undecided": 4}
    numbers = [ledger.begin("models", tool="1", at=NOW) for _ in range(4)]
    for number in numbers[1:]:
        ledger.finish(number, **ended, **counts)
    assert [one.number for one in ledger.trend("models", 2)] == numbers[2:]
    assert ledger.trend("models", 9)[0].undecided == 4
    assert ledger.trend("elsewhere", 9) == []


def test_names_that_no_shell_likes_are_kept(ledger: Ledger) -> None:
    odd = replace(SEEN, model="a'; DROP TABLE versions;--", version="\u202e\U0001f600 " + "x" * 250)
    ledger.keep("r", ledger.begin("r", tool="1", at=NOW), NOW, [(odd, "new")])
    assert ledger.seen("r")[odd.model, odd.version] == odd


def test_two_workers_may_make_the_same_ledger_at_once(url: str) -> None:
    code = (
        "import sys; from gatekeeper.ledger.book import Ledger; print(Ledger(sys.argv[1]).models())"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [worker.communicate()[0].strip() for worker in workers] == ["[]"] * 4


def test_a_newer_ledger_is_left_alone(ledger: Ledger, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="newer Gatekeeper"):
        Ledger(url)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "no URL"),
        ("oracle9://x/y", "no URL"),
        ("sqlite:////proc/nowhere/ledger.sqlite", "cannot make"),
        ("postgresql+psycopg://127.0.0.1:1/none?connect_timeout=2", "does not answer"),
    ],
)
def test_a_ledger_that_is_not_there_is_told_on_one_line(url: str, told: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg", reason="needs psycopg (the extra `postgres`)")
    with pytest.raises((UsageError, LedgerError), match=told) as caught:
        Ledger(url)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("hello, this is no database at all" * 40)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.mark.server
def test_a_cut_connection_is_made_again(postgres: str) -> None:
    ledger = Ledger(postgres)
    ledger.settle(JUDGED)
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(text(CUT))
    assert ledger.judgement(JUDGED.key) == JUDGED
    engine.dispose()
    ledger.close()
