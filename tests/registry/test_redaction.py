"""No secret of an address is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.registry.redaction import in_one_line, redacted

PASSWORDS = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="@"),
    min_size=8,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s3cret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://me:s3/cr:et@host/db", "postgresql://***@host/db"),
        ("https://token@host", "https://***@host"),
        ("s3://bucket/x?secret=abc&region=eu", "s3://bucket/x?secret=***&region=eu"),
        ("mssql://h/db?odbc=x;PWD=abc;y=1", "mssql://h/db?odbc=x;PWD=***;y=1"),
        ("GET https://h/o?X-Amz-Signature=abc&a=1", "GET https://h/o?X-Amz-Signature=***&a=1"),
        ("s3://bucket/model@2/1", "s3://bucket/model@2/1"),
        ("no address at all: a@b", "no address at all: a@b"),
    ],
)
def test_only_the_secrets_go(text: str, shown: str) -> None:
    assert redacted(text) == shown


@given(password=PASSWORDS)
def test_no_password_is_shown(password: str) -> None:
    assert password not in redacted(f"cannot reach http://me:{password}@host:5000/x today")


@given(said=st.text())
def test_what_was_said_is_one_short_line(said: str) -> None:
    line = in_one_line(ValueError(said))
    assert line
    assert line.isprintable()
    assert len(line) <= 403


def test_a_long_answer_hides_its_secrets_in_a_moment() -> None:
    said = "http://me:" + "://" * 1_000_000 + " http://me:s3cret@host " + "x" * 3950
    assert "s3cret" not in in_one_line(said)
    cut = "x" * 3980 + " http://me:s3cret" + "t" * 100 + "@host"
    assert "s3cr" not in in_one_line(cut)
