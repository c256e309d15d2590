"""Where a file lies is told so that no two files look like one, and the same next time."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from candidates import gatekeeper
from test_code_scanning import SCHEMA

from gatekeeper.report.file_uri import uri_of

RUNS = b"cos\nsystem\n(S'true'\ntR."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working folder with a link to another beside it."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "there")
    (tmp_path / "again").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("models/a b.pt", "models/a%20b.pt"),
        ("ü.pt", "%C3%BC.pt"),
        ("\udcff.pt", "%FF.pt"),
        ("c:model.pt", "c%3Amodel.pt"),
        ("link/model.pt", "link/model.pt"),
        ("{here}/models/model.pt", "models/model.pt"),
        ("{here}/link/model.pt", "link/model.pt"),
        ("../here/model.pt", "model.pt"),
        ("{here}/../again/model.pt", "model.pt"),
        ("/home/a b/model.pt", "file:///home/a%20b/model.pt"),
        ("{here}x/model.pt", "file://{here}x/model.pt"),
        ("link/../model.pt", "file://{here}/../model.pt"),
        ("..", "file://{here}/.."),
        ("/odd\0/../model.pt", "file:///model.pt"),
    ],
)
def test_a_uri_is_relative_below_the_working_folder_and_whole_elsewhere(
    path: str, uri: str, here: Path
) -> None:
    expected = uri.replace("{here}/..", str(here.parent)).replace("{here}", str(here))
    assert uri_of(path.replace("{here}", str(here))) == expected


def test_two_copies_in_two_folders_are_two_alerts_on_every_run(here: Path) -> None:
    for name in ("there/one/model.pt", "there/two/model.pt", "here/model.pt"):
        (here.parent / name).parent.mkdir(exist_ok=True)
        (here.parent / name).write_bytes(RUNS)
    (here.parent / "there/three.pt").write_bytes(b"")
    words = ["inspect", str(here.parent / "there"), "model.pt", "--format", "sarif"]
    first, second = (json.loads(gatekeeper(*words, cwd=here).stdout) for _ in range(2))
    assert first == second
    jsonschema.validate(first, SCHEMA)
    results = first["runs"][0]["results"]
    uris = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results]
    there = f"file://{here.parent}/there"
    assert sorted(uris) == [
        f"{there}/one/model.pt", f"{there}/three.pt", f"{there}/two/model.pt", "model.pt"
    ]  # fmt: skip
    prints = {one["partialFingerprints"]["primaryLocationLineHash"] for one in results}
    assert len(prints) == len(results)
