"""The process of one scan in an audit: `python -m gatekeeper.audit.child PARENT < job.json`."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from gatekeeper.errors import GatekeeperError
from gatekeeper.foreign_text import visible
from gatekeeper.terminal import complain, leave, say

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def main() -> int:
    """Take the job on stdin through the gate; the record in its folder is the answer.

    Exits with 0 where there is a record, whatever it says, and with the error's code where not.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return 3  # the audit was killed before it could be told of
    from gatekeeper.job import Job
    from gatekeeper.pipeline import run

    try:
        run(Job(**json.load(sys.stdin)), resume=True, tell=lambda line: say(visible(line)))
    except GatekeeperError as error:
        complain(visible(f"{str(error).rstrip('.')}. {error.hint}".strip()))
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
