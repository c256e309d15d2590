"""What goes wrong before a scan can begin: the remedy is an audit's, and hostile stays hostile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper
from registries import audit, configure, hostile, put, rows

from gatekeeper.audit.remedies import _WORDS, for_audits
from gatekeeper.errors import RegistryError
from gatekeeper.registry import open_registry

SOURCES = Path(__file__).resolve().parents[2] / "gatekeeper"


def test_every_phrase_that_is_put_in_other_words_is_one_of_ours() -> None:
    """Else a scan's words have changed, and audits would advise options that they lack."""
    texts = [path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py")]
    whole = "\n".join(re.sub(r'"\s*\n\s*f?"', "", text) for text in texts if "_WORDS" not in text)
    assert [old for old, _ in _WORDS if old not in whole] == []
    assert not [new for _, new in _WORDS if re.search(r"--\w", new)]


@pytest.mark.parametrize("old", [old for old, _ in _WORDS])
def test_no_option_of_a_scan_is_left(old: str) -> None:
    assert not re.search(r"--\w", for_audits(f"It is so: {old}."))


def test_a_hostile_file_is_rejected_whatever_its_rule_lacks(tmp_path: Path) -> None:
    for model in ("imageless", "no-gpu"):
        put(tmp_path / "models", model, "1", hostile())
        put(tmp_path / "models", model, "2", torch_file(tmp_path))
    configure(tmp_path, rules="  - {models: imageless, data: nowhere}\n  - {models: no-gpu, "
              "device: 'cuda:9999'}\n")  # fmt: skip
    done = audit(tmp_path)
    assert done.returncode == 1, done.stderr
    now = rows(tmp_path)
    told = {name: (row["decision"], row["reason"]) for name, row in now.items()}
    for model in ("imageless", "no-gpu"):
        assert told[f"{model}/1"][0] == "reject"
        assert "imports os.getenv" in told[f"{model}/1"][1].replace("posix", "os")
        assert told[f"{model}/2"][0] == "undecided"
    assert "no images at" in told["imageless/2"][1]
    assert "`device: cpu` in audit.yaml" in told["no-gpu/2"][1]
    assert audit(tmp_path).returncode == 1
    assert {name: row["decision"] for name, row in rows(tmp_path).items()} == {
        name: decision for name, (decision, _) in told.items()
    }


def torch_file(folder: Path) -> bytes:
    torch.save({"weight": torch.ones(2, 2)}, folder / "weights.pt")
    return (folder / "weights.pt").read_bytes()


def test_a_model_without_a_card_is_told_what_an_audit_has(tmp_path: Path) -> None:
    put(tmp_path / "models", "cardless", "1", torch_file(tmp_path))
    configure(tmp_path)
    assert audit(tmp_path).returncode == 3
    reason = rows(tmp_path)["cardless/1"]["reason"]
    assert "in audit.yaml" in reason
    assert "--" not in reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("policy: ci\ndevice: tpu\n", "audit.yaml:2: device"),
        ("policy: ci\nrules: []\n", "audit.yaml:2: rules: rules is empty"),
        ("webhook: {url: 'http://a:b@c/', secret_env: S}\n", "without user and password"),
        ("rules:\n  - {models: a}\n  - {models: b, policy: none.yaml}\n", "the rule for 'b': "),
    ],
)
def test_a_mistake_in_the_configuration_is_told_before_anything_is_begun(
    text: str, told: str, tmp_path: Path
) -> None:
    put(tmp_path / "models", "evil", "1", hostile())
    (tmp_path / "audit.yaml").write_text(text, encoding="utf-8")
    done = audit(tmp_path)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert not (tmp_path / "gatekeeper-audit").exists()


def test_an_audit_does_not_write_into_its_registry(tmp_path: Path) -> None:
    put(tmp_path / "models", "evil", "1", hostile())
    configure(tmp_path)
    done = audit(tmp_path, "--out", "models/audit")
    assert done.returncode == 2
    assert "lies in the registry" in done.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["evil"]


def test_a_store_that_is_asked_at_once_and_does_not_answer_is_told() -> None:
    with pytest.raises(RegistryError, match="does not answer"):
        open_registry("ftp://127.0.0.1:1/models")


def test_a_dead_prefect_server_is_told(tmp_path: Path) -> None:
    put(tmp_path / "models", "evil", "1", hostile())
    configure(tmp_path)
    words = ["audit", "models", "--config", "audit.yaml", "--prefect"]
    done = gatekeeper(*words, cwd=tmp_path, env={"PREFECT_API_URL": "http://127.0.0.1:1/api"})
    assert done.returncode == 3
    assert "Prefect's server at http://127.0.0.1:1/api does not answer" in done.stderr
