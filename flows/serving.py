"""Audits by the clock on one machine, with nothing else set up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)

from gatekeeper.audit.auditor import Auditor
from gatekeeper.audit.order import AuditOrder, placed, refuse_passwords
from gatekeeper.audit.run import check
from gatekeeper.errors import GatekeeperError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.loopback import answers, prefect_server
from gatekeeper.registry.redaction import redacted
from gatekeeper.resources import bundled


def serve_audit(order: AuditOrder, *, cron: str, tell: Callable[[str], None]) -> None:
    """Stay, and audit by the clock, until interrupted.

    Raises:
        UsageError: the schedule, or something that the order names, is wrong, or an address holds
            a password.
        GatekeeperError: the Prefect server that is configured does not answer.
    """
    try:
        CronSchedule(cron=cron)
    except ValueError:
        message = f"{cron!r} is no schedule"
        raise UsageError(message, hint='Such as "0 3 * * *": every night at three.') from None
    refuse_passwords(order)
    check(Auditor(order))
    with _scheduler(tell) as url:
        tell(f"audits {visible(redacted(order.registry))} at {cron!r} by {url}; Ctrl-C ends it")
        # By its file, as each run is a new process that cannot import what was loaded here.
        audits = Flow.from_source(str(bundled("flows")), "audit.py:audit_registry")
        assert isinstance(audits, Flow)  # and no coroutine, as nothing here is asynchronous
        audits.serve(
            name="served",
            cron=cron,
            parameters={"order": asdict(placed(order))},
            global_limit=ConcurrencyLimitConfig(
                limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
            ),
            print_starting_message=False,
        )


@contextmanager
def _scheduler(tell: Callable[[str], None]) -> Iterator[str]:
    """Give the address of a Prefect server that starts runs by the clock: yours, or our own.

    The temporary one that Prefect would start by itself takes schedules and never runs them.
    """
    if url := PREFECT_API_URL.value():
        if not answers(f"{url}/health"):
            message = f"Prefect's server at {url} does not answer"
            raise GatekeeperError(message, hint="Start it, or unset PREFECT_API_URL.")
        yield url
        return
    tell("no Prefect server is configured (PREFECT_API_URL): starts one for as long as this runs")
    # Whoever else is on this machine, or a page in its browser, could have it run what they like.
    own = PREFECT_SERVER_API_AUTH_STRING.value()
    secret = own.get_secret_value() if own else f"gatekeeper:{secrets.token_urlsafe(32)}"
    log = PREFECT_HOME.value() / "gatekeeper-server.log"
    with (
        prefect_server(log, secret=secret) as url,
        # What Prefect starts for each run is told these, too.
        temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret}),
    ):
        yield url
