"""Commands that try the gate itself: demos, a calibration of one's own, a red team."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gatekeeper.given import GivenPath, GivenPlace
from gatekeeper.terminal import say

_PATH, _PLACE = GivenPath(), GivenPlace()


@click.command()
@click.option("--out", type=_PATH, default=Path("gatekeeper-demo"), show_default=True)
@click.option("--open", "open_report", is_flag=True, help="Open the report in a browser.")
@click.option("--quiet", is_flag=True)
def demo(out: Path, open_report: bool, quiet: bool) -> int:
    """Backdoor a small network on real handwriting, then take it through the gate."""
    from gatekeeper.demo import demonstrate
    from gatekeeper.progress import progress

    with progress(quiet=quiet) as tell:
        shown = demonstrate(out, tell=tell)
    say(shown.text)
    if open_report:
        click.launch(str(shown.report))
    return shown.exit_code


@click.command("demo-audit")
@click.option("--out", type=_PATH, default=Path("gatekeeper-demo-audit"), show_default=True)
@click.option("--quiet", is_flag=True)
def demo_audit(out: Path, quiet: bool) -> int:
    """Audit a real MLflow registry by the clock: clean, backdoored and malicious models."""
    from gatekeeper.demo_audit import demonstrate_audit
    from gatekeeper.progress import progress

    with progress(quiet=quiet) as tell:
        text, expected = demonstrate_audit(out, tell=tell)
    say(text)
    return 0 if expected else 3


@click.command()
@click.option("--models", type=_PATH, required=True, help="Folder of known-clean models.")
@click.option("--data", type=_PLACE, help="Clean images, as for a scan.")
@click.option("--card", type=_PATH, help="Your card, for all of them.")
@click.option("--out", type=_PATH, default=Path("gatekeeper-calibration.yaml"), show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda[:N].")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def calibrate(models: Path, out: Path, quiet: bool, **given: Any) -> int:
    """Set the bound by your own models that are known to be clean; learn what is natural."""
    from gatekeeper.progress import progress
    from gatekeeper.recalibration import recalibrate
    from gatekeeper.recalibration_lines import told

    options = {name: value for name, value in given.items() if value is not None}
    with progress(quiet=quiet) as tell:
        done = recalibrate(models, out, tell=tell, **options)
    say(told(done))
    return 0


@click.command()
@click.option("--attack", required=True, help="badnets, blended, ...; a wrong name lists all.")
@click.option("--data", type=_PLACE, required=True, help="Your own images: class folders or .npz.")
@click.option("--card", type=_PATH, required=True, help="Architecture and input to train.")
@click.option("--out", type=_PATH, required=True, help="Where candidate and truth go.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of all images; of one class at most half.",
)
@click.option("--target", help="Class that the trigger means.  [default: the first]")
@click.option("--source", help="Class that the trigger works on, for badnets-source.")
@click.option(
    "--epochs", type=click.IntRange(1), help="[default: 20; 60 without BatchNorm on few images]"
)
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="[default: 0.1; 0.05 without BatchNorm]"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda[:N].")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def redteam(quiet: bool, **given: Any) -> int:
    """Backdoor a network on your own data, to test your own gate on it.

    The exit code is 3 where the network hardly learnt or the backdoor did not take.
    """
    from gatekeeper.progress import progress
    from gatekeeper.redteaming import Order, make, missed, summary

    order = Order(**given)
    with progress(quiet=quiet) as tell:
        truth = make(order, tell=tell)
    say(summary(order, truth))
    return 3 if missed(truth) else 0


WORKBENCH = (demo, demo_audit, calibrate, redteam)
