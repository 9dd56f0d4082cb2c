"""Configs that are given in Python, and that training by them is training by the command."""

import ast
import subprocess
import sys

import pytest
from absl import flags as absl_flags

import atbert_jax
from atbert_jax.configs import atbert_finetune
from atbert_jax.given_config import read_config
from atbert_jax.training import twin
from docs.command_flags import loaded
from tests import commands


def test_a_config_by_its_name_takes_overrides_of_both_forms():
    changes = {
        "train.steps": 7,
        "model": {"hidden": 16, "depths": (1,)},
        "objectives.alignment": 1.0,
    }
    found = read_config("atbert_finetune:tiny,full", changes)
    expected = atbert_finetune.get_config("tiny,full")
    expected.train.steps, expected.model.hidden, expected.model.depths = 7, 16, (1,)
    expected.objectives.alignment = 1.0
    assert found.to_json_best_effort() == expected.to_json_best_effort()


def test_a_config_by_its_path_and_itself(tmp_path):
    file = tmp_path / "mine.py"
    text = "from atbert_jax.configs import atbert_finetune\n\n\ndef get_config(size='tiny'):\n"
    file.write_text(text + "    return atbert_finetune.get_config(size)\n")
    for given, size in ((file, "tiny"), (f"{file}:small", "small")):
        expected = atbert_finetune.get_config(size).to_json_best_effort()
        assert read_config(given).to_json_best_effort() == expected
    config = atbert_finetune.get_config("tiny")
    before = config.to_json_best_effort()
    assert read_config(config, {"seed": 3}).seed == 3
    assert config.to_json_best_effort() == before


@pytest.mark.parametrize(
    ("config", "overrides", "said"),
    [
        ("atbert_fintune", {}, "did you mean 'atbert_finetune'"),
        ("nowhere.py", {}, "nowhere.py: no such config file; known are .*atbert_pretrain"),
        ("atbert_finetune", {"train.stepz": 1}, "config.train.stepz=1 cannot be set: .*stepz"),
        ("atbert_finetune", {"train": {"steps": "many"}}, "config.train.steps='many' cannot be"),
    ],
)
def test_what_is_no_config_is_refused(config, overrides, said):
    with pytest.raises(ValueError, match=said):
        read_config(config, overrides)


def test_without_the_extra_the_way_out_is_said(tmp_path):
    code = f"{commands.WITHOUT_TENSORFLOW}import atbert_jax\ntry:\n"
    code += f"    atbert_jax.train('atbert_pretrain:tiny', {str(tmp_path / 'run')!r}, "
    code += f"{{'data.manifest': {str(tmp_path / 'a.csv')!r}}})\n"
    code += "except ModuleNotFoundError as error:\n    print(error)"
    (tmp_path / "a.csv").write_text("path,text\n")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=commands.ROOT
    )
    assert done.stdout.strip().endswith("run pip install 'atbert-jax[train]'")


def test_training_gets_what_the_command_gives_it(tmp_path, monkeypatch):
    overrides = {
        name.removeprefix("--config."): ast.literal_eval(value)
        for name, value in (each.split("=") for each in commands.TINY)
    }
    overrides["data.manifest"] = "tracks.csv"
    calls = []
    monkeypatch.setattr(twin, "train_with_twin", lambda *given: calls.append(given) or {"loss": 1})
    best = atbert_jax.train("atbert_pretrain:tiny", tmp_path, overrides)
    assert best == {"loss": 1}
    flags = [f"--workdir={tmp_path}", "--config.data.manifest=tracks.csv", *commands.TINY]
    with loaded("train") as command:
        command.parse(["--config=atbert_pretrain:tiny", *flags])
        expected = absl_flags.FLAGS["config"].value
    ((config, workdir, _),) = calls
    assert config.to_json_best_effort() == expected.to_json_best_effort()
    assert workdir == tmp_path
