"""What `gatekeeper inspect` found, as code scanning takes it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import jsonschema
from candidates import gatekeeper
from test_code_scanning import SCHEMA

from gatekeeper.rules import RULES


def archive(pickled: bytes) -> bytes:
    """Write a zip such as torch writes it, around any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        written.writestr("archive/data.pkl", pickled)
        written.writestr("archive/version", b"3\n")
    return out.getvalue()


def test_sarif_holds_what_was_found_and_what_was_not_read(tmp_path: Path) -> None:
    fine, runs = (archive(content) for content in (b"\x80\x02}.", b"cos\nsystem\n(S'true'\ntR."))
    (tmp_path / "bad.pt").write_bytes(runs)
    (tmp_path / "cut.pt").write_bytes(fine[:-30])
    (tmp_path / "good.pt").write_bytes(fine)
    done = gatekeeper("inspect", ".", "--format", "sarif", cwd=tmp_path)
    assert done.returncode == 1
    log = json.loads(done.stdout)
    jsonschema.validate(log, SCHEMA)
    (run,) = log["runs"]
    told = {
        (one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], one["ruleId"])
        for one in run["results"]
    }
    assert told == {("bad.pt", "code-execution"), ("cut.pt", "not-decided")}
    assert run["properties"] == {"inspected": 3, "passedOver": 0}
    (blocked,) = (one for one in run["results"] if one["ruleId"] == "code-execution")
    assert blocked["properties"] == {"byteOffset": 0}
    assert "os.system (at byte 0)" in blocked["message"]["text"]
    prints = [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]
    assert len(set(prints)) == len(prints)


def test_a_plain_pickle_names_the_byte_of_its_import_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"\x80\x02N0cos\nsystem\n(S'true'\ntR.")
    (tmp_path / "zip.pt").write_bytes(archive(b"\x80\x02N0cos\nsystem\n(S'true'\ntR."))
    lines = gatekeeper("inspect", ".", cwd=tmp_path).stdout
    assert "imports os.system [byte 4]" in lines
    assert "imports os.system [archive/data.pkl, byte 4]" in lines
    told = json.loads(gatekeeper("inspect", "bad.pt", "--format", "json", cwd=tmp_path).stdout)
    (finding,) = told["files"][0]["findings"]
    assert (finding["offset"], finding["member"]) == (4, "")
    assert finding["remedy"] == RULES["code-execution"].remedy
