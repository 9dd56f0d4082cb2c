"""Training, evaluating and predicting by the commands, from a manifest to answers."""

import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from tests.commands import WITHOUT_TENSORFLOW, one_line, run, train, write_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(music, tmp_path_factory) -> Path:
    """A model that was pre-trained, then fine-tuned beside its twin."""
    folder = tmp_path_factory.mktemp("runs")
    result = train(
        music / "tracks.csv",
        folder / "pairs",
        "--config.evaluation.best_metric=loss",
        config="atbert_pretrain",
    )
    assert not result.returncode, result.stderr
    result = train(
        music / "tracks.csv", folder / "labels", f"--config.init_from={folder / 'pairs'}"
    )
    assert not result.returncode, result.stderr
    assert "arrays taken over" in result.stdout
    assert "start anew: objectives/classification" in result.stdout
    return folder / "labels"


def test_an_objective_is_switched_on_by_a_flag(music, tmp_path):
    result = train(
        music / "tracks.csv",
        tmp_path / "run",
        "--config.objectives.masked_embedding=1.0",
        "--config.masked_embedding.negatives=current_minibatch",
        config="atbert_pretrain",
    )
    assert not result.returncode, result.stderr
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["objectives"]
    assert {name for name, weight in stored.items() if weight is not None} == {
        "alignment",
        "correct_pair",
        "masked_embedding",
    }
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["val/masked_embedding/audio_accuracy"] <= 1


def test_evaluate_reports_model_twin_and_baseline(checkpoint, tmp_path):
    result = run("atbert_jax.evaluate", f"--checkpoint={checkpoint}", f"--output={tmp_path}")
    assert not result.returncode, result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    systems = metrics["systems"]
    assert len(systems) == 7  # three views of the model, three of its twin, and the baseline
    assert sum("from scratch" in name for name in systems) == 3
    page = (tmp_path / "report.html").read_text()
    assert "MFCC statistics" in page
    assert "data:image/png;base64" in page


def test_thresholds_are_those_of_tags(checkpoint, music, tmp_path):
    (tmp_path / "metrics.json").write_text('{"classification": {}}')
    flag = f"--thresholds={tmp_path / 'metrics.json'}"
    result = run("atbert_jax.predict", f"--checkpoint={checkpoint}", flag, music / "0.wav")
    assert "metrics.json: holds no thresholds; give the metrics.json of" in one_line(result)


def test_evaluate_of_pairs_needs_no_labels(checkpoint, tmp_path):
    result = run(
        "atbert_jax.evaluate",
        f"--checkpoint={checkpoint.parent / 'pairs'}",
        f"--output={tmp_path}",
        "--split=train",
    )
    assert not result.returncode, result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["correct_pair"]["pairs"] == 12  # six clips, each matched and mismatched


def test_evaluate_searches_and_tells_labels_by_their_names(checkpoint, music, tmp_path):
    path = write_manifest(
        music,
        "markup.csv",
        lambda rows: [r.replace("a high tone", "a <b>high</b> tone") for r in rows],
    )
    result = run(
        "atbert_jax.evaluate",
        f"--checkpoint={checkpoint.parent / 'pairs'}",
        f"--output={tmp_path}",
        f"--manifest={path}",
        "--split=train",
        "--rerank=3",
        "--zero_shot",
        "--template=a {} tone",
    )
    assert not result.returncode, result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    found = metrics["retrieval"]
    assert (found["clips"], found["texts"], found["rerank"]) == (6, 6, 3)
    for direction in ("text_to_audio", "audio_to_text"):
        assert found[direction]["chance"]["recall_at_1"] == pytest.approx(1 / 6)
        # Every right answer is among ten; the first five hold the same ones after re-ranking.
        assert found[direction]["candidates"]["recall_at_10"] == 1
        both = [found[direction][stage]["recall_at_5"] for stage in ("candidates", "reranked")]
        assert both[0] == both[1]
    assert metrics["zero_shot"]["chance"]["accuracy"] == 0.5
    assert 0 <= metrics["zero_shot"]["correct_pair"]["accuracy"] <= 1
    page = (tmp_path / "report.html").read_text()
    assert "a &lt;b&gt;high&lt;/b&gt; tone of number" in page
    assert "<b>" not in page
    for text in ("Retrieval", "What some texts find", "Zero-shot labels"):
        assert text in page
        assert text in result.stdout
    assert "re-ranking: " in result.stdout


def test_predict_without_tensorflow(checkpoint, music, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "alone", ignore=shutil.ignore_patterns("scratch"))
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    long = tmp_path / "long.wav"
    soundfile.write(long, np.random.default_rng(0).normal(0, 0.1, (44100 * 3, 2)), 44100)
    code = (
        WITHOUT_TENSORFLOW
        + "import runpy; runpy.run_module('atbert_jax.predict', run_name='__main__')"
    )
    result = run(
        f"--checkpoint={tmp_path / 'alone'}",
        "--json",
        f"--embeddings={tmp_path / 'all.npz'}",
        "--text=a low tone",
        music / "0.wav",
        bad,
        long,
        code=code,
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(music / "0.wav"), str(bad), str(long)]
    assert "Format not recognised" in rows[1]["error"]
    assert result.returncode == 1
    assert "1 of 3 files" in one_line(result)
    for row, seconds in ((rows[0], 0.5), (rows[2], 3.0)):
        assert row["duration"] == pytest.approx(seconds)
        assert set(row["probabilities"]) == {"low", "high"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].get)
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["embedding"].shape == (2, 16)
        assert np.isfinite(arrays["embedding"]).all()


def test_predict_equals_evaluation(checkpoint, music, tmp_path):
    """Both engines, with and without tf.data, come to the same probabilities."""
    from atbert_jax.input_pipeline import dataset
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches
    from atbert_jax.training import trained, validation
    from atbert_jax.training.step import make_evaluation_step

    model = trained.load(checkpoint)
    data = dataset.load(model.config, tmp_path, contract=model.contract, tokenizer=model.tokenizer)
    batches = Batches(model.config, data, BadRecords(None)).evaluation("test", 4)
    where = jax.tree.map(lambda x: x.sharding, model.params)
    step = make_evaluation_step(model.definition, model.mesh, where)
    ask = functools.partial(step, model.params, model.statistics)
    ((_, outputs),) = validation.answers([ask], batches, model.mesh)

    test = [line for line in (music / "tracks.csv").read_text().splitlines() if "test" in line]
    table = tmp_path / "test.csv"
    table.write_text("path,text,label,split\n" + "\n".join(test) + "\n")
    result = run(
        "atbert_jax.predict", f"--checkpoint={checkpoint}", "--json", self_rooted(table, music)
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    found = [[row["probabilities"][name] for name in model.contract.labels.names] for row in rows]
    np.testing.assert_allclose(found, outputs["classification"]["audio_text"], atol=1e-4)


def self_rooted(table: Path, music: Path) -> Path:
    """The manifest beside its audio, where its paths lead."""
    return Path(shutil.copy(table, music / "only_test.csv"))


def test_predict_text_alone_and_folder(checkpoint, music):
    result = run("atbert_jax.predict", f"--checkpoint={checkpoint}", "--json", "--text=a high tone")
    row = json.loads(result.stdout)
    assert row["path"] is None
    assert set(row["probabilities"]) == {"low", "high"}
    result = run("atbert_jax.predict", f"--checkpoint={checkpoint}", music)
    assert not result.returncode, result.stderr
    assert result.stdout.count(".wav") == 10


def test_the_pretrained_model_tells_whether_a_text_matches(checkpoint, music):
    pairs = checkpoint.parent / "pairs"
    result = run(
        "atbert_jax.predict",
        f"--checkpoint={pairs}",
        "--json",
        "--text=a low tone",
        music / "0.wav",
    )
    assert 0 < json.loads(result.stdout)["match"] < 1


def test_predict_labels_without_tensorflow(checkpoint, music, tmp_path):
    (tmp_path / "labels.txt").write_text("low\n\nhigh\nmiddle \n")
    code = (
        WITHOUT_TENSORFLOW
        + "import runpy; runpy.run_module('atbert_jax.predict', run_name='__main__')"
    )
    result = run(
        f"--checkpoint={checkpoint.parent / 'pairs'}",
        f"--labels={tmp_path / 'labels.txt'}",
        "--template=a {} tone",
        "--json",
        music / "0.wav",
        code=code,
    )
    assert not result.returncode, result.stderr
    labels = json.loads(result.stdout)["zero_shot"]
    assert list(labels) == ["low", "high", "middle"]
    assert sum(labels.values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--labels=rock", "0.wav"], "--labels='rock' is neither a file"),
        (["--labels=low,high"], "name audio files, folders or manifests"),
        (["--template=a {} tone", "0.wav"], "it needs --labels"),
        (["--labels=low,high", "0.wav"], "trained on classification, which compares no clip"),
    ],
)
def test_labels_that_cannot_be_asked_for(checkpoint, arguments, named):
    line = one_line(run("atbert_jax.predict", f"--checkpoint={checkpoint}", *arguments))
    assert named in line


def test_the_same_command_again_is_done_at_once(checkpoint, music):
    """A finished run goes on at its last step, and changes nothing."""
    before = (checkpoint / "metrics.jsonl").read_text()
    result = train(
        music / "tracks.csv", checkpoint, f"--config.init_from={checkpoint.parent / 'pairs'}"
    )
    assert not result.returncode, result.stderr
    assert "goes on at step 2" in result.stdout
    assert (checkpoint / "metrics.jsonl").read_text() == before


def test_every_import_works_without_tensorflow():
    """The commands' flags have the same names, so each takes its own away again."""
    code = (
        "import sys; sys.modules.update(tensorflow=None, tensorflow_datasets=None)\n"
        "import pkgutil, importlib, atbert_jax\n"
        "from absl import flags\n"
        "found = pkgutil.walk_packages(atbert_jax.__path__, 'atbert_jax.')\n"
        "names = [m.name for m in found if '.input_pipeline' not in m.name]\n"
        "for name in ('__main__', 'prepare', 'reporting.data_card'):\n"
        "    names.remove(f'atbert_jax.{name}')\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    for flag in [*flags.FLAGS.flags_by_module_dict().get(name, ())]:\n"
        "        delattr(flags.FLAGS, flag.name)\n"
        "print(*names)"
    )
    result = run(code=code)
    assert not result.returncode, result.stderr
    names = result.stdout.split()
    assert len(names) > 25
    commands = {"train", "evaluate", "predict", "ablate", "convert", "pseudo_label", "quickstart"}
    assert {f"atbert_jax.{command}" for command in commands} < set(names)
