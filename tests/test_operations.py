"""What docs/operations.md, prefect.yaml and their companions say, held against the code."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gatekeeper.audit.config import AuditConfig, MLflowWishes, Rule, Terms, Webhook
from gatekeeper.audit.order import AuditOrder
from gatekeeper.audit.webhook import signature

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SECRET, BODY, AT = "a secret", b'{"event": "gatekeeper.audit"}', 1_800_000_000


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return content


def test_every_key_of_audit_yaml_is_explained() -> None:
    told = TEXT.split("<!-- keys")[1].split("<!-- end -->")[0]
    named = re.findall(r"^\| `(\w+)` \|", told, flags=re.MULTILINE)
    models: list[type[BaseModel]] = [Terms, AuditConfig, Rule, Webhook, MLflowWishes]
    assert len(named) == len(set(named))
    assert set(named) == {name for model in models for name in model.model_fields}


def test_the_example_of_audit_yaml_is_one() -> None:
    example = re.search(r"```yaml\n(data: clean/digits.*?)```", TEXT, flags=re.DOTALL)
    assert example is not None
    config = AuditConfig.model_validate(yaml.safe_load(example[1]))
    digits, signs = config.rule_for("digits-7"), config.rule_for("signs-a")
    assert digits is not None
    assert signs is not None
    assert (digits.data, signs.data) == ("clean/digits", "clean/signs")
    assert config.rule_for("faces") is None


@pytest.mark.parametrize(
    ("header", "body", "now", "genuine"),
    [
        (signature(SECRET, BODY, AT), BODY, AT + 10, True),
        (signature(SECRET, BODY, AT), BODY + b" ", AT + 10, False),
        (signature("another", BODY, AT), BODY, AT + 10, False),
        (signature(SECRET, BODY, AT), BODY, AT + 1000, False),
        (signature(SECRET, BODY, AT).replace(str(AT), str(AT + 900)), BODY, AT + 900, False),
        ("", BODY, AT, False),
        ("t=ä,v1=ö", BODY, AT, False),
    ],
)
def test_the_receiver_knows_what_is_genuine(
    header: str, body: bytes, now: float, genuine: bool
) -> None:
    source = TEXT.split("<!-- receiver")[1].split("```python\n")[1].split("```")[0]
    room: dict[str, Any] = {}
    exec(source, room)
    assert room["is_genuine"](header, body, SECRET, now) is genuine


@pytest.mark.parametrize("name", ["prefect.yaml", "docs/prefect-clusters.yaml"])
def test_deployments_order_what_an_audit_understands(name: str) -> None:
    for deployment in read(name)["deployments"]:
        order = deployment["parameters"]["order"]
        assert set(order) <= {field.name for field in fields(AuditOrder)}
        assert AuditOrder(**order).registry
        assert re.split("[.:]", deployment["entrypoint"])[-1] == "audit_registry"
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_the_pins_are_those_that_prefect_works_with() -> None:
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    assert read("prefect.yaml")["prefect-version"] == pins["prefect"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Its scheduler and its `deploy` fail with newer ones, which no other test would notice.
    assert {"fastapi<0.151", "sqlalchemy>=2.0.40,<2.1"} <= set(project["dependencies"])
    assert pins["sqlalchemy"].startswith("2.0.")
    assert int(pins["fastapi"].split(".")[1]) < 151


def test_the_job_of_kubernetes_has_no_privileges() -> None:
    job = json.loads((ROOT / "docs/kubernetes-job.json").read_text(encoding="utf-8"))
    pod = job["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
