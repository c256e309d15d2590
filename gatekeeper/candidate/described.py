"""Checks the tensors that a checkpoint describes while it is looked at, without their numbers."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import MalformedError, UnsupportedError

_HINT = "Ask its maker for a state dict of dense tensors of real numbers."


def check_described(read: Callable[[], None], seen: Seen, member: str = "") -> None:
    """Let `read` describe the tensors of a file that nothing speaks against, and note what fails.

    Args:
        read: reads them with stand-ins in the place of all that the pickle names.
        seen: takes what is found; where something was already, nothing is read.
        member: the pickle in an archive.
    """
    if seen.findings or seen.unreadable or seen.foreign:
        return
    try:
        read()
    except MalformedError as error:
        seen.add("malformed-tensor", "critical", str(error), member, None)
    except UnsupportedError as error:
        # What stands behind it was not checked.
        seen.refuse(f"the gate does not read it: {error}", _HINT)
    except (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError,
            RecursionError, ValueError) as error:  # fmt: skip
        seen.refuse(f"what its pickle makes cannot be made ({type(error).__name__}: {error})")
