"""Times of an audit in words; ages count from the end of the audit, not from who reads of it."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def seconds_between(earlier: str, later: str) -> int | None:
    """Seconds from one ISO 8601 time to another, never below 0; None where one is no time."""
    start, end = _moment(earlier), _moment(later)
    if start is None or end is None:
        return None
    return max(0, round((end - start).total_seconds()))


def in_words(seconds: int | None) -> str:
    """Write a span as people say it: `12 min`, `5 h`, `40 d`."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR} h"
    return f"{seconds // _DAY} d"


def moment(text: str) -> str:
    """Write a time to the minute; what is no time stays as it is."""
    when = _moment(text)
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else text


def day(text: str) -> str:
    """Write a time to the day; what is no time stays as it is."""
    when = _moment(text)
    return f"{when:%Y-%m-%d}" if when else text


def _moment(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
