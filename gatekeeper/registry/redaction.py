"""Secrets in addresses and in what servers say, taken out before anyone reads it."""

from __future__ import annotations

import re

from gatekeeper.foreign_text import visible

# A password may hold slashes, as SQLAlchemy allows; rather too much is hidden than too little.
_USER = re.compile(r"(?<=://)(?:[^:/\s@]*:[^@\s]*|[^/\s]*)@")
_PASSWORD = re.compile(r"://[^:/\s@]*:[^@\s]*@")
_SETTING = re.compile(
    r"(?i)([\w-]*(?:password|passwd|pwd|token|secret|signature|credential|accesskey|api_?key)"
    r"[\w-]*=)[^&\s;]+"
)
_LONGEST = 400  # characters that are shown of what a server said
_MOST = 4000  # characters that are looked at


def redacted(text: str) -> str:
    """Hide user, password and secret settings of every address in `text`."""
    return _SETTING.sub(r"\1***", _USER.sub("***@", text))


def has_password(address: str) -> bool:
    """Tell whether `address` holds a password or another secret; a user's name alone is none."""
    return bool(_PASSWORD.search(address) or _SETTING.search(address))


def in_one_line(error: object) -> str:
    """Give what `error` says without secrets, in one harmless line of at most 400 characters."""
    said = " ".join(str(error).split())
    if len(said) > _MOST:  # a server may say much; the last word may be half a secret
        said = said[:_MOST].rpartition(" ")[0]
    line = visible(redacted(said)) or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
