"""The whole path on real candidates, as a user would walk it."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from candidates import (
    ROOT,
    gatekeeper,
    plain_policy,
    quick_policy,
    repeatable,
    save_candidate,
    save_images,
    watched_network,
)
from no_network import alone, skip_unless_possible, why_not
from safetensors.torch import save_file

from gatekeeper.data import write_folders
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import STEPS, begin, run, take
from gatekeeper.redteam import BadNets
from gatekeeper.rundir import RunDirectory


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, held_out: Images) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    save_images(held_out, folder / "clean.npz")
    return folder


@pytest.fixture(scope="module")
def hardened_run(workplace: Path, backdoored: Model) -> Path:
    model = save_candidate(backdoored, workplace / "backdoored")
    text = (ROOT / "policies/default.yaml").read_text(encoding="utf-8")
    longest = r",\s*untargeted-inversion, pair-inversion\]"  # have tests of their own
    fewer, found = re.subn(longest, "]", text)
    assert found == 1
    (workplace / "fewer.yaml").write_text(fewer, encoding="utf-8")
    result = gatekeeper(
        "scan", model, "--data", workplace / "clean.npz", "--out", workplace / "run",
        "--policy", workplace / "fewer.yaml", "--quiet",
        cwd=workplace, env=watched_network(workplace),
        before=() if why_not() else alone(workplace / "network.count"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    return workplace / "run"


def test_a_backdoored_candidate_ends_hardened(hardened_run: Path) -> None:
    record = json.loads((hardened_run / "record.json").read_text())
    assert record["verdict"]["decision"] == "hardened"
    assert record["outputs"]["onnx"]["weights"] == "purified"
    assert record["outputs"]["onnx"]["parity"]["top1_agreement"] == 1.0
    assert any(finding["rule_id"] == "small-trigger" for finding in record["findings"])
    for name in ("report.html", "report.sarif", "report.junit.xml", "summary.md"):
        assert (hardened_run / name).stat().st_size > 0


def test_the_screens_together_name_the_target_and_the_units(hardened_run: Path) -> None:
    record = json.loads((hardened_run / "record.json").read_text())
    found = record["assessment"]
    assert found["outcome"] == "suspicious"
    assert (found["suspected_class"], found["kind"]) == ("0", "one class")
    assert "trigger-inversion" in found["agreeing"]
    assert found["score"] == pytest.approx(sum(one["adds"] for one in found["evidence"]))
    assert any(finding["rule_id"] == "backdoor-suspected" for finding in record["findings"])
    lines = [check for check in record["checks"] if check["metric"] == "screening"]
    assert [(check["subject"], check["outcome"]) for check in lines] == [
        ("candidate", "failed"),
        ("purified", "passed"),
    ]
    again = record["verification"]["screened"]
    assert again["score"] < again["calibration"]["threshold"] <= found["score"]
    units = record["attribution"]["units"]
    assert record["attribution"]["target_class"] == "0"
    assert record["attribution"]["carrying"] >= len(units) > 0
    assert all(unit["after"] is not None for unit in units)
    moved = [sum(unit[name] for unit in units) for name in ("change", "after")]
    assert moved[1] < moved[0]


def test_the_report_draws_where_the_candidate_stands(hardened_run: Path) -> None:
    page = (hardened_run / "report.html").read_text(encoding="utf-8")
    assert "What the screens say together" in page
    assert "suspicious from here" in page
    assert "Units that carry the trigger" in page
    assert "The purified network was screened in the same way: clean-looking" in page


@pytest.mark.slow
def test_a_purified_network_that_the_screens_still_suspect_is_not_hardened(
    workplace: Path, backdoored: Model, tmp_path: Path
) -> None:
    """No line of the policy is about triggers, and what was purified changed nothing."""
    policy = plain_policy(tmp_path, "default")
    text = policy.read_text(encoding="utf-8")
    for old, new in (
        ("purify: { when: always, method: auto }", "purify: { when: never }"),
        ("screen: [neuron-norm]", "screen: [trigger-inversion, maximum-margin]"),
    ):
        assert old in text
        text = text.replace(old, new)
    policy.write_text(text, encoding="utf-8")
    job = Job(
        model=str(save_candidate(backdoored, tmp_path)), out=str(tmp_path / "run"),
        data=str(workplace / "clean.npz"), policy=str(policy),
    )  # fmt: skip
    with RunDirectory.open(Path(job.out), resume=False) as room:
        work = begin(job, room, lambda _: None)
        for step in STEPS:
            take(step, work)
            if step == "purify":
                weights = {k: v.cpu() for k, v in work.candidate.network.state_dict().items()}
                save_file(weights, room.file("purified.safetensors"))
        record = json.loads(room.file("record.json").read_text())
    assert record["verdict"]["decision"] == "reject"
    reasons = record["verdict"]["reasons"]
    assert reasons[1].startswith("the screens find the purified network suspicious")
    assert any(reason.startswith("The candidate itself does not meet") for reason in reasons)
    assert reasons[-1].startswith("the screens find the candidate suspicious")
    assert not (tmp_path / "run/hardened.onnx").exists()
    assert "suspicious, score" in (tmp_path / "run/summary.md").read_text(encoding="utf-8")


def test_a_whole_scan_wants_no_connection(hardened_run: Path, workplace: Path) -> None:
    """The demo's own: its candidate, images and card, screened, purified, exported, reported."""
    assert (workplace / "network.log").read_text() == ""
    skip_unless_possible()
    assert (workplace / "network.count").read_text() == "0"


def test_the_true_trigger_is_dead_in_the_onnx(
    hardened_run: Path, held_out: Images, attack: BadNets
) -> None:
    from gatekeeper.export import predictions

    triggered = attack.triggered(held_out)
    answers = predictions(hardened_run / "hardened.onnx", triggered)
    assert (answers == attack.target).mean() <= 0.05
    clean = predictions(hardened_run / "hardened.onnx", held_out)
    assert (clean == held_out.labels.numpy()).mean() >= 0.95


def test_the_artifact_names_no_machine_path(hardened_run: Path) -> None:
    onnx.checker.check_model(str(hardened_run / "hardened.onnx"))
    content = (hardened_run / "hardened.onnx").read_bytes()
    for path in (str(Path.home()), str(hardened_run), "site-packages", str(Path.cwd())):
        assert path.encode() not in content


def test_a_finished_run_resumes_to_the_same_record(hardened_run: Path, workplace: Path) -> None:
    before = json.loads((hardened_run / "record.json").read_text())
    result = gatekeeper(
        "scan", workplace / "backdoored/model.pt", "--data", workplace / "clean.npz",
        "--policy", workplace / "fewer.yaml", "--out", hardened_run, "--resume",
        "--format", "json", cwd=workplace,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert repeatable(json.loads(result.stdout)) == repeatable(before)
    assert "kept from the earlier run" in result.stderr


@pytest.mark.parametrize("form", ["text", "json", "html", "sarif", "junit", "markdown"])
def test_report_draws_every_format_again(hardened_run: Path, form: str, tmp_path: Path) -> None:
    result = gatekeeper("report", hardened_run / "record.json", "--format", form, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = {"html": "report.html", "sarif": "report.sarif", "markdown": "summary.md"}
    if form in names:
        assert result.stdout.strip() == (hardened_run / names[form]).read_text().strip()


@pytest.mark.slow
def test_a_clean_candidate_keeps_its_skill(
    workplace: Path, clean_model: Model, tmp_path: Path
) -> None:
    model = save_candidate(clean_model, tmp_path)
    job = Job(
        model=str(model), out=str(tmp_path / "run"), data=str(workplace / "clean.npz"),
        policy=str(quick_policy(tmp_path, "default")),
    )  # fmt: skip
    record = run(job)
    assert record.verdict.decision in ("pass", "hardened")
    assert record.verification is not None
    assert record.verification.after is not None
    drop = record.verification.after["clean_accuracy_drop"].value
    assert drop is not None
    assert drop <= 0.005


def test_without_data_the_scan_is_undecided_and_names_the_option(
    workplace: Path, backdoored: Model, tmp_path: Path
) -> None:
    model = save_candidate(backdoored, tmp_path)
    result = gatekeeper("scan", model, "--out", tmp_path / "run", cwd=tmp_path)
    assert result.returncode == 3
    assert "--data" in result.stdout
    assert not (tmp_path / "run/hardened.onnx").exists()
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert record["norms"]
    assert record["verdict"]["decision"] == "undecided"


def test_a_policy_may_ask_for_screens_that_need_no_images(
    workplace: Path, backdoored: Model, tmp_path: Path
) -> None:
    (tmp_path / "ours.yaml").write_text(
        "name: ours\nscreen: [channel-lipschitz, maximum-margin]\n"
        "require: { clean_accuracy: { at_least: 0.8 } }\n"
    )
    save_candidate(backdoored, tmp_path)
    done = gatekeeper("scan", "model.pt", "--policy", "ours.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert set(record["screens"]) == {"channel-lipschitz", "maximum-margin"}
    assert record["screens"]["maximum-margin"]["score"] > 1.5
    assert "can be pushed furthest" in (tmp_path / "run/report.html").read_text()


def test_a_candidate_that_runs_code_is_rejected_unrun(tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {witness}",)

    model = tmp_path / "model.pt"
    model.write_bytes(pickle.dumps({"weight": Payload()}))
    result = gatekeeper("scan", model, "--out", tmp_path / "run", "--format", "json", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert not witness.exists()
    record = json.loads(result.stdout)
    assert record["verdict"]["decision"] == "reject"
    assert "system" in record["verdict"]["reasons"][0]
    assert not (tmp_path / "run/weights.safetensors").exists()


def test_gatekeeper_yaml_is_enough(workplace: Path, backdoored: Model, tmp_path: Path) -> None:
    model = save_candidate(backdoored, tmp_path)
    policy = plain_policy(tmp_path, "ci")
    policy.write_text(policy.read_text(encoding="utf-8").replace("0.80", "0.999"), encoding="utf-8")
    (tmp_path / "gatekeeper.yaml").write_text(
        f"data: {workplace / 'clean.npz'}\npolicy: {policy}\nout: runs\n", encoding="utf-8"
    )
    result = gatekeeper("scan", model.name, cwd=tmp_path)
    assert result.returncode == 1, result.stderr + result.stdout  # ci does not purify
    (out,) = (tmp_path / "runs").iterdir()
    record = json.loads((out / "record.json").read_text())
    assert record["policy"]["name"] == "ci"
    # Nothing of it asks for triggers, so nobody waits for any; the record says so.
    assert record["verification"]["before"]["recovered_trigger_success"]["value"] is None
    assert any("asks for it" in told["reason"] for told in record["skipped"])
    assert not (out / "hardened.onnx").exists()


def test_a_step_killed_before_its_end_is_taken_again(
    workplace: Path, backdoored: Model, tmp_path: Path
) -> None:
    model = save_candidate(backdoored, tmp_path)
    job = Job(
        model=str(model), out=str(tmp_path / "run"), data=str(workplace / "clean.npz"),
        policy=str(plain_policy(tmp_path, "ci")),
    )  # fmt: skip
    whole = run(Job(**{**job.__dict__, "out": str(tmp_path / "whole")}))
    with RunDirectory.open(Path(job.out), resume=False) as room:
        work = begin(job, room, lambda _: None)
        take("read", work)
        STEPS["screen"](work)  # it wrote its files, and was killed before it said so
    resumed = run(job, resume=True)
    from gatekeeper.records import to_dict

    assert repeatable(to_dict(resumed)) == repeatable(to_dict(whole))


def test_a_policy_may_ask_for_sequela_and_an_operator_suspect_images(
    workplace: Path, backdoored: Model, held_out: Images, attack: BadNets, tmp_path: Path
) -> None:
    model = save_candidate(backdoored, tmp_path / "candidate")
    write_folders(attack.triggered(held_out.select(torch.arange(60))), tmp_path / "suspects")
    policy = plain_policy(tmp_path, "default").read_text(encoding="utf-8")
    asked = policy.replace("method: auto", "method: ft").replace("name: default", "name: asked")
    (tmp_path / "asked.yaml").write_text(asked + "verify: { sequela: true }\n", encoding="utf-8")
    result = gatekeeper(
        "scan", model, "--data", workplace / "clean.npz", "--out", tmp_path / "run", "--quiet",
        "--suspects", tmp_path / "suspects", "--policy", tmp_path / "asked.yaml", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr
    record = json.loads((tmp_path / "run/record.json").read_text())
    before, after = record["verification"]["before"], record["verification"]["after"]
    assert before["suspects_obeyed"]["value"] > 0.9
    assert "class 0" in before["suspects_obeyed"]["note"]
    summary = (tmp_path / "run/summary.md").read_text(encoding="utf-8")
    assert "| Suspect images that obey |" in summary
    again = gatekeeper("report", tmp_path / "run/record.json", "--format", "text", cwd=tmp_path)
    assert "Beside the policy, candidate, then purified:" in again.stdout
    for name in ("membership_auc", "reinjection_success", "adversarial_accuracy"):
        assert before[name]["low"] <= before[name]["value"] <= before[name]["high"]
        assert after[name]["value"] is not None
    assert {name for name in after if name.startswith("suspects_")} == {
        "suspects_obeyed",
        "suspects_obeyed_after_retuning",
        "suspects_obeyed_after_reactivation",
        "suspects_obeyed_along_the_path",
    }
    assert "Suspect images that obey" in (tmp_path / "run/report.html").read_text()
