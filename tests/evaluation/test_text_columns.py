"""A model is measured with two text columns, each as if it were the only one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from atbert_jax.evaluation import evaluate_run
from atbert_jax.training import validation
from tests import tiny

VIEWS = ("audio_text", "audio", "text")


@pytest.fixture
def spoken(tone_manifest, tone_config, tmp_path) -> Path:
    """A run whose manifest has, beside what is said, what was recognised: not much."""
    manifest = tone_manifest(8, 4, 6)
    lines = manifest.read_text(encoding="utf-8").splitlines()
    lines[1:] = [f"{line},{'' if n % 3 else 'a high tone'}" for n, line in enumerate(lines[1:])]
    lines[0] += ",stt"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    changes = {**tiny.MODEL, "objectives.classification": 1.0, "classification.views": VIEWS}
    config = tone_config(manifest, normalization="none", **changes)
    tiny.save_run(tmp_path / "run", config)
    return tmp_path / "run"


def evaluate(workdir: Path, output: Path, **more) -> tuple[dict, str]:
    quiet = Console(file=io.StringIO())
    values = evaluate_run.evaluate(
        workdir, "test", output, with_baseline=False, console=quiet, **more
    )
    return values, (output / "report.html").read_text(encoding="utf-8")


def test_both_columns_are_in_one_report(spoken, tmp_path):
    values, page = evaluate(spoken, tmp_path / "report", also_text_column="stt")
    found = values["text_columns"]
    assert list(found) == ["text", "stt"]
    assert page.count("<h2>Text columns</h2>") == 1
    shown = validation.SHOWN["single_label"]
    for column, views in found.items():
        alone, _ = evaluate(spoken, tmp_path / column, data={"text_column": column})
        for view in VIEWS:
            entry = alone["classification"][view]
            expected = {name: entry[name] for name in shown}
            assert views[view.replace("_", " + ")] == pytest.approx(expected, abs=1e-6)
    assert found["text"]["audio"] == found["stt"]["audio"]
    assert found["text"]["text"] != found["stt"]["text"]
    # All else in the report is of the first column.
    plain, _ = evaluate(spoken, tmp_path / "plain")
    assert values["loss"] == pytest.approx(plain["loss"], abs=1e-6)


def test_a_column_that_is_not_there_is_named(spoken, tmp_path):
    with pytest.raises(ValueError, match="'asr'"):
        evaluate(spoken, tmp_path / "report", also_text_column="asr")


def test_a_model_that_predicts_no_labels_is_refused(tone_manifest, tone_config, tmp_path):
    config = tone_config(tone_manifest(), **tiny.MODEL, **{"objectives.correct_pair": 1.0})
    config.data.task, config.normalization = "", "none"
    tiny.save_run(tmp_path / "run", config)
    with pytest.raises(ValueError, match=r"no labels .* leave --also_text_column out"):
        evaluate(tmp_path / "run", tmp_path / "report", also_text_column="id")
