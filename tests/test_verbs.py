"""The one command, its help, configs by name, and what the doctor says."""

import importlib.util
import re
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement

from atbert_jax import __main__, __version__, command, doctor
from tests.commands import ROOT, one_line, run

PIP = (sys.executable, "-m", "pip")


def atbert(*arguments: str) -> subprocess.CompletedProcess:
    return run("atbert_jax", *arguments)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_without_a_verb_all_are_listed(arguments):
    result = atbert(*arguments)
    assert not result.returncode
    for verb in __main__.VERBS:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_a_verb_lists_its_flags_and_that_is_no_error(verb):
    assert importlib.util.find_spec(__main__.VERBS[verb][0])
    result = atbert(verb, "--help")
    assert not result.returncode, result.stderr
    assert not result.stderr
    assert result.stdout.strip()


def test_the_version_is_told():
    assert atbert("--version").stdout == f"{__version__}\n"


def test_an_unknown_verb_is_told_with_the_one_that_was_meant():
    result = atbert("trian")
    assert result.returncode == 2
    assert one_line(result).startswith("error: verb='trian' is none of train, evaluate, ")
    assert one_line(result).endswith("; did you mean 'train'?")


def test_a_config_is_found_by_its_name_or_its_path(tmp_path):
    assert command.config_file("atbert_finetune:small,full") == (
        f"{command.CONFIGS / 'atbert_finetune.py'}:small,full"
    )
    assert command.config_file("configs/mine.py:small") == "configs/mine.py:small"
    with pytest.raises(ValueError, match=r"tagger_notes.*did you mean 'atbert_finetune'"):
        command.config_file("atbert_fintune")


@pytest.mark.parametrize("form", [("--config=atbert_pretrain:tiny",), ("--config", "tagger:fcn")])
def test_a_named_config_takes_overrides(form, tmp_path):
    result = atbert("train", *form, f"--workdir={tmp_path}", "--config.train.stepz=1")
    assert result.returncode == 2
    assert one_line(result) == 'error: \'stepz\' Did you mean "steps" instead of "stepz"?'


def test_the_doctor_lists_devices_and_all_that_can_be_done():
    result = atbert("doctor")
    assert not result.returncode, result.stderr
    assert "(cpu)" in result.stdout
    for purpose in doctor.PURPOSES.values():
        assert purpose in result.stdout


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("numpy>=2", ""),
        ("numpy<1", r"numpy \S+ is not <1"),
        ("no-such-package>=1", "no-such-package is missing"),
    ],
)
def test_the_doctor_says_what_is_wrong(requirement, said):
    found = doctor.problem(Requirement(requirement))
    assert re.fullmatch(said, found)


def test_an_extra_holds_what_others_that_it_names_hold():
    names = {extra: {x.name for x in doctor.requirements(extra)} for extra in doctor.PURPOSES}
    assert names["report"] < names["train"] < names["prepare"] < names["beam"]
    assert "jax" in names[""]
    assert not names[""] & names["train"]


def test_what_is_not_installed_is_named_with_its_extra():
    error = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow.io")
    way_out = "tensorflow is not installed; run pip install 'atbert-jax[train]'"
    assert command.explain(error) == way_out
    assert command.explain(ValueError("as it is")) == "as it is"


@pytest.mark.slow
def test_the_wheel_holds_one_package(tmp_path):
    done = subprocess.run(
        [*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"atbert_jax"}
    for file in ("py.typed", "configs/defaults.py", "input_pipeline/dataset.py"):
        assert f"atbert_jax/{file}" in names
    for file in ("page/page.css", "page/page.js", "reporting/report.html.jinja"):
        assert f"atbert_jax/{file}" in names
