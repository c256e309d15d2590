"""Commands for a whole registry: audit it, and tell the history of a model."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gatekeeper.errors import UsageError
from gatekeeper.given import GivenPath, GivenPlace
from gatekeeper.terminal import say

if TYPE_CHECKING:
    from gatekeeper.audit.order import AuditOrder
    from gatekeeper.audit.summary import Audit

_PATH, _PLACE = GivenPath(), GivenPlace()
_OUT = Path("gatekeeper-audit")
_GO_ON = "What was judged is kept: audit again."


@click.command()
@click.argument("registry", type=_PLACE)
@click.option("--config", type=_PATH, help="audit.yaml: rules, ledger, webhook.")
@click.option(
    "--out", type=_PATH, default=_OUT, show_default=True, help="Page, reports and ledger."
)
@click.option("--ledger", help="sqlite:///FILE or postgresql+psycopg://HOST/NAME.")
@click.option("--workers", type=click.IntRange(1, 256), help="Versions judged side by side.")
@click.option("--rehash", is_flag=True, help="Fetch and digest every version anew.")
@click.option("--retry", "again", is_flag=True, help="Judge undecided ones again.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.option("--prefect", is_flag=True, help="Run the audit as a Prefect flow.")
@click.option("--serve", is_flag=True, help="Stay, and audit on a schedule (needs --cron).")
@click.option("--cron", help='When --serve audits, as "0 3 * * *".')
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def audit(
    registry: str, form: str, prefect: bool, serve: bool, cron: str | None, quiet: bool,
    **given: Any,
) -> int:  # fmt: skip
    """Judge what changed in REGISTRY: a folder MODEL/VERSION/FILE, mlflow:URI, or s3://BUCKET.

    Exit codes tell how the registry stands: 1 before 3 before 0, also where nothing was new.
    """
    from gatekeeper.audit.order import AuditOrder
    from gatekeeper.audit.summary_file import write_audit
    from gatekeeper.audit.text import audit_text

    texts = {name: _text(value) for name, value in given.items()}
    order = AuditOrder(registry=registry, **texts)
    if serve != bool(cron):
        message = "--serve and --cron go together"
        raise UsageError(message, hint='Such as --serve --cron "0 3 * * *".')
    try:
        if serve:
            _serve(order, cron=cron, quiet=quiet)
        done = _run(order, prefect=prefect, quiet=quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_GO_ON) from None
    page = Path(order.out) / "index.html"
    say(write_audit(done).rstrip() if form == "json" else audit_text(done, page))
    return done.exit_code


@click.command()
@click.argument("model")
@click.option("--out", type=_PATH, default=_OUT, show_default=True, help="Of the audits.")
@click.option("--ledger", help="Where it is not the file in --out.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def history(model: str, out: Path, ledger: str | None, form: str) -> int:
    """Tell what became of every version of MODEL, audit by audit."""
    from gatekeeper.audit.text import history_text
    from gatekeeper.ledger.book import Ledger

    file = out / "ledger.sqlite"
    if ledger is None and not file.is_file():
        message = f"no ledger {file}"
        raise UsageError(message, hint="Give --out as the audit had it, or --ledger URL.")
    book = Ledger(ledger or f"sqlite:///{file.resolve()}")
    past = book.history(model)
    if not past:
        known = ", ".join(sorted(book.models())[:10])
        message = f"no audit has seen a model {model!r}"
        raise UsageError(message, hint=f"Known: {known}." if known else "Run an audit first.")
    as_json = json.dumps([asdict(one) for one in past], indent=2, ensure_ascii=True)
    say(as_json if form == "json" else history_text(model, past))
    return 0


def _serve(order: AuditOrder, *, cron: str | None, quiet: bool) -> NoReturn:
    """Audit by the clock until interrupted, which Prefect takes for a good end."""
    from gatekeeper.flow_loader import load_flow
    from gatekeeper.progress import progress

    # SIGTERM ends Prefect's runner as if by sys.exit().
    with progress(quiet=quiet) as tell, suppress(SystemExit):
        load_flow("serving", quiet=quiet).serve_audit(order, cron=cron, tell=tell)
    raise KeyboardInterrupt


def _run(order: AuditOrder, *, prefect: bool, quiet: bool) -> Audit:
    """Audit, and give what this very audit found, whoever else writes into the folder."""
    from gatekeeper.audit.summary_file import read_audit

    if prefect:
        from gatekeeper.flow_loader import load_flow

        code = load_flow("audit", quiet=quiet).run_audit(order)
        file = Path(order.out) / "audit.json"
        read = read_audit(file.read_text(encoding="utf-8"), str(file))
        return replace(read, exit_code=code)
    from gatekeeper.audit.run import audit as run
    from gatekeeper.progress import progress

    with progress(quiet=quiet) as tell:
        return run(order, tell=tell)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


REGISTRY = (audit, history)
