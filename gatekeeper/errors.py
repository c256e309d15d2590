"""Everything that can go wrong, as one tree.

    GatekeeperError             exit 3   the gate could not finish
    ├── UsageError              exit 2   the caller asked for something impossible
    │   ├── ConfigError                  gatekeeper.yaml is malformed
    │   ├── PolicyError                  a policy is malformed
    │   ├── CalibrationError             a calibration is malformed
    │   ├── CardError                    a card is malformed, or does not fit the candidate
    │   └── DataError                    clean images are missing, unreadable or do not fit
    ├── CandidateError          exit 3   the candidate cannot be read: undecided, never clean
    ├── RegistryError           exit 3   a registry, or one version in it, cannot be read
    ├── LedgerError             exit 3   the ledger of audits cannot be read or written
    ├── StepError               exit 3   one step cannot serve this network (told, not hidden)
    └── RunDirectoryError       exit 3   disk full, directory in use, torn by someone else

Every error prints as one line, `message`, and one more, `hint`: the next thing to do.
"""

from __future__ import annotations


class GatekeeperError(Exception):
    """Root of the tree; `exit_code` is what the command line returns, `hint` what to do next."""

    exit_code: int = 3
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the message on one line; `hint` replaces the class's own."""
        super().__init__(message)
        if hint is not None:
            self.hint = hint


def with_hint(message: str, hint: str) -> str:
    """Join what went wrong and the next thing to do; a message may end as a question."""
    end = "" if message.endswith("?") else "."
    return f"{message.rstrip('.')}{end} {hint}".strip()


class UsageError(GatekeeperError):
    """The caller asked for something impossible."""

    exit_code = 2


class ConfigError(UsageError):
    """`gatekeeper.yaml` is malformed or names something that is not there."""

    hint = "Correct the line named above in gatekeeper.yaml."


class PolicyError(UsageError):
    """A policy is malformed."""

    hint = "`gatekeeper policy show default` prints one that is right."


class CalibrationError(UsageError):
    """A calibration is malformed, or could suspect nothing."""

    hint = "`gatekeeper calibrate` writes one; without --calibration the shipped one is used."


class CardError(UsageError):
    """A card is malformed, or does not fit the candidate."""

    hint = "README.md shows a card; without one, known architectures are recognised."


class DataError(UsageError):
    """Clean images are missing, unreadable, or do not fit the network."""

    hint = "Give a folder of class folders, or an .npz with `images` and `labels`."


class CandidateError(GatekeeperError):
    """The candidate cannot be read; undecided, never clean."""

    hint = "Ask its maker for torch.save(model.state_dict(), FILE) or a .safetensors file."


class RegistryError(GatekeeperError):
    """A registry, or one version in it, cannot be read; `passing` where trying again may help."""

    hint = "See that the registry runs and that you may read it, then audit again."

    def __init__(self, message: str, *, hint: str | None = None, passing: bool = False) -> None:
        """Say whether the fault may pass by itself, as an answer of 503 may."""
        super().__init__(message, hint=hint)
        self.passing = passing


class LedgerError(GatekeeperError):
    """The ledger of audits cannot be read or written."""

    hint = "See that the database runs and has room; what was judged stays in the run folders."


class StepError(GatekeeperError):
    """One step cannot serve this network; the rest of the report stays."""


class RunDirectoryError(GatekeeperError):
    """The run directory is full, in use, or not ours."""

    hint = "Choose another --out, or free some space; a scan goes on with --resume."
