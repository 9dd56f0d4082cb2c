"""The notebooks run from their first cell to their last, one after the other, with tiny sizes."""

import ast
import json
import sys
import types

import pytest

from tests import tiny  # which makes XLA compile in haste
from tests.commands import TINY
from tests.documents import ROOT

FOLDER = ROOT / "docs" / "notebooks"
SIZES = {
    name.removeprefix("--config."): ast.literal_eval(value)
    for name, value in (each.split("=") for each in TINY)
}
SIZES["model.heads"] = tiny.MODEL["model.heads"]
FINE_TUNING = SIZES | {"scratch_twin": False}
PARAMETERS = {
    "own_data.ipynb": {"CLIPS": 48, "PRETRAINING": SIZES, "FINE_TUNING": FINE_TUNING},
    "search_library.ipynb": {},
}


def code(name: str) -> list[dict]:
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_they_are_clean_and_begin_with_their_parameters(name):
    first, *rest = code(name)
    assert first["metadata"] == {"tags": ["parameters"]}
    assert not [cell for cell in (first, *rest) if cell["outputs"] or cell["execution_count"]]
    space: dict = {}
    exec("".join(first["source"]), space)
    assert PARAMETERS[name].keys() <= space.keys()


def test_all_of_them_are_run():
    assert {file.name for file in FOLDER.iterdir()} == PARAMETERS.keys()


@pytest.mark.slow
def test_they_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    played = []
    display = types.SimpleNamespace(Audio=played.append)
    monkeypatch.setitem(
        sys.modules, "IPython", types.SimpleNamespace(display=display, version_info=(9, 0))
    )
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    spaces = {}
    for name, parameters in PARAMETERS.items():
        space = spaces[name] = {}
        for cell in code(name):
            exec(compile("".join(cell["source"]), name, "exec"), space)
            if cell["metadata"]:
                space |= parameters
    own, searched = spaces.values()
    assert all(0 <= row["accuracy"] <= 1 for row in own["metrics"]["systems"].values())
    assert (tmp_path / "reports" / "genre" / "report.html").is_file()
    assert len(searched["hits"]) == 5
    assert len(played) == 1
    assert searched["head"].labels == ("mine", "other")
    assert capsys.readouterr().out.count(".flac") >= 15  # three lists of five
