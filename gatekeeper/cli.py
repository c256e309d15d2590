"""The command line: parses, calls once, tells, and exits. Heavy imports stay inside commands."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatekeeper import __version__
from gatekeeper.cli_registry import REGISTRY
from gatekeeper.cli_workbench import WORKBENCH
from gatekeeper.errors import GatekeeperError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.given import GivenPath, GivenPlace
from gatekeeper.terminal import complain, discard, leave, say

if TYPE_CHECKING:
    from gatekeeper.job import Job

FORMATS = ("text", "json", "html", "sarif", "junit", "markdown")
_PATH, _PLACE = GivenPath(), GivenPlace()


def start() -> None:
    """Be a process: run the command, and end with its exit code."""
    try:
        main()
    except SystemExit as ended:
        leave(int(ended.code or 0))


def main() -> None:
    """Run the command; every error is one line, its remedy, and the right exit code."""
    # Threads that wait by spinning slow two scans on one machine down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Importing torch makes a million objects: looking them through again and again takes a while.
    gc.set_threshold(100_000, 50, 50)
    try:
        code = cli.main(prog_name="gatekeeper", standalone_mode=False)
    except SystemExit:
        # Click and rich answer a closed pipe with 1, which is our REJECT.
        code = 3
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        resumable = "Go on with --resume." if "scan" in sys.argv[1:2] else ""
        next_step = str(error.__cause__ or error) or resumable
        complain(f"Interrupted; nothing was left half-written. {next_step}".strip())
        code = 130
    except click.ClickException as error:
        code = _usage(error)
    except GatekeeperError as error:
        complain(f"gatekeeper: {visible(str(error))}", visible(error.hint))
        code = error.exit_code
    except Exception as error:
        code = _internal(error)
    sys.exit(code if isinstance(code, int) else 0)


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what to judge, with what, and by which policy."""
    options = [
        click.option(
            "--data", type=_PLACE, help="Class folders, .npz, or torchvision:NAME:FOLDER."
        ),
        click.option("--verify-data", type=_PLACE, help="Separate images for verification."),
        click.option("--suspects", type=_PLACE, help="Folder of images that may carry a trigger."),
        click.option("--card", type=_PATH, help="Your card of the model."),
        click.option("--policy", help="Shipped policy or file.  [default: default]"),
        click.option("--calibration", type=_PATH, help="As `gatekeeper calibrate` writes it."),
        click.option(
            "--purify",
            "method",
            help="auto, ft-sam, ft-sam-restore, awm, awm-taught, super-ft, fst, unlearn or ft.",
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda[:N]."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1)),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gatekeeper")
def cli() -> None:
    """A gate for image classifiers that somebody else trained.

    Exit codes: 0 pass (or hardened, where the policy accepts it), 1 reject, 2 usage, 3 undecided.
    """


@cli.command()
@click.argument("model", type=_PATH)
@scan_options
@click.option("--out", type=_PATH, help="Run directory.  [default: gatekeeper-runs/NAME-DIGEST]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--resume", is_flag=True, help="Go on after the last finished step.")
@click.option("--prefect", is_flag=True, help="Run the same steps as a Prefect flow.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def scan(model: Path, form: str, resume: bool, prefect: bool, quiet: bool, **given: Any) -> int:
    """Judge MODEL, harden it, and write the audit report."""
    from gatekeeper.progress import progress
    from gatekeeper.report import render
    from gatekeeper.verdict import exit_code

    job = _job(model, given)
    if prefect:
        from gatekeeper.flow_loader import load_flow

        record = load_flow("gate", quiet=quiet).scan(job, resume=resume)
    else:
        with progress(quiet=quiet) as tell:
            from gatekeeper.pipeline import run

            record = run(job, resume=resume, tell=tell)
    say(render(record, form))
    if form == "text":
        say(f"Report: {Path(job.out) / 'report.html'}")
    return exit_code(record)


@cli.command()
@click.argument("paths", type=_PATH, nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text")
@click.option(
    "--accept-weak-quarantine",
    is_flag=True,
    help="Look also where the kernel confines the child that looks by too little.",
)
def inspect(paths: tuple[Path, ...], form: str, accept_weak_quarantine: bool) -> int:
    """Check files or folders statically; nothing is parsed by torch, nothing runs."""
    from gatekeeper.inspection import inspect_all
    from gatekeeper.inspection_formats import tell_inspections

    inspected = inspect_all(paths, accept_weak=accept_weak_quarantine)
    say(tell_inspections(inspected, form))
    return inspected.exit_code


@cli.command()
@click.argument("record", type=_PATH)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--compare", type=_PATH, help="Another record.json: what changed?")
def report(record: Path, form: str, compare: Path | None) -> int:
    """Draw any format again from a record.json, with no model at hand."""
    from gatekeeper.report import compare as compared
    from gatekeeper.report import read_record, render

    record = record / "record.json" if record.is_dir() else record
    read = read_record(_text(record), str(record))
    if compare is not None:
        say(compared(read, read_record(_text(compare), str(compare))))
    else:
        say(render(read, form))
    return 0


@cli.group()
def policy() -> None:
    """Show or check policies."""


@policy.command("show")
@click.argument("name", default="default")
def policy_show(name: str) -> int:
    """Print a shipped policy, or your own, as it will be read."""
    from gatekeeper.policy import read_policy

    read = read_policy(name)
    say(_text(Path(read.path)))
    return 0


@policy.command("check")
@click.argument("names", nargs=-1, required=True)
def policy_check(names: tuple[str, ...]) -> int:
    """Say whether policies are well-formed; errors name file and line."""
    from gatekeeper.policy import read_policy

    for name in names:
        read = read_policy(name)
        lines = "1 requirement" if len(read.require) == 1 else f"{len(read.require)} requirements"
        say(f"{read.name}: well-formed, {lines}, sha256 {read.sha256}")
        for gap in read.gaps:
            complain(f"  {read.name}: {gap}")
    return 0


@cli.command()
@click.argument("rule", required=False)
def rules(rule: str | None) -> int:
    """List what the gate can say, or explain one RULE and its remedy."""
    from gatekeeper.rules import RULES

    if rule is None:
        for known in RULES.values():
            say(f"{known.id:32} {known.severity:9} {known.title}")
        return 0
    if rule not in RULES:
        message = f"no rule {rule!r}"
        raise UsageError(message, hint="`gatekeeper rules` lists them.")
    known = RULES[rule]
    say(f"{known.id} ({known.severity}): {known.title}\n\n{known.explanation}\n")
    say(f"Remedy: {known.remedy}")
    return 0


for command in (*REGISTRY, *WORKBENCH):
    cli.add_command(command)


def _job(model: Path, given: dict[str, Any]) -> Job:
    from gatekeeper.planning import plan

    return plan(model, **{name: value for name, value in given.items() if value is not None})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path}: {error}"
        raise UsageError(message) from None


def _internal(error: Exception) -> int:
    import tempfile
    import traceback

    hint = "No log of it could be written."
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="gatekeeper-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exception(error, file=log)
        hint = f"Please report it with {log.name}"
    except OSError:
        pass  # a full disk must not turn exit code 3 into 1
    complain(f"gatekeeper: internal error ({type(error).__name__}); nothing was passed.", hint)
    return 3


def _usage(error: click.ClickException) -> int:
    try:
        error.show()
    except OSError:
        discard(sys.stderr)
    return 2
