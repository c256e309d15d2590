"""What a scan advises, in the words of an audit: there are no options there, but `audit.yaml`."""

from __future__ import annotations

_WORDS = (
    ("give your own card with --card FILE", "name your own `card` in audit.yaml"),
    ("Give --card FILE with", "Name a `card` in audit.yaml with"),
    ("Give --card FILE", "Name a `card` in audit.yaml"),
    ("give --card FILE", "name a `card` in audit.yaml"),
    ("and give --card", "and name a `card` in audit.yaml"),
    ("give --data DIR", "name `data` in audit.yaml"),
    ("Give --data DIR as well", "Name `data` in audit.yaml as well"),
    ("by --verify-data", "by `verify_data` in audit.yaml"),
    ("with --verify-data", "by `verify_data` in audit.yaml"),
    ("(--data)", "(`data` in audit.yaml)"),
    ("(--purify)", "(`method` in audit.yaml)"),
    ("Use --device cpu", "Set `device: cpu` in audit.yaml"),
    ("or --device cpu", "or `device: cpu` in audit.yaml"),
    (
        "Choose another --out, or free some space; a scan goes on with --resume",
        "Free some space; audit again",
    ),
    ("then add --resume", "then audit again"),
    ("Start again in another --out", "Remove the run's folder; audit again"),
    ("Add --resume, or choose another --out", "Remove the run's folder; audit again"),
    ("Choose another --out; nothing was touched", "Remove the run's folder; audit again"),
    ("Choose another --out", "Remove the run's folder; audit again"),
    ("or choose another --out", "or remove the run's folder"),
)


def for_audits(told: str) -> str:
    """Give what a scan told without its command line's options."""
    for scans, audits in _WORDS:
        told = told.replace(scans, audits)
    return told
