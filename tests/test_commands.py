"""The commands as a person runs them: each in a process of its own."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--config.model.depths=(1,)",
    "--config.model.width=4",
    "--config.model.hidden=16",
    "--config.model.layers=1",
    "--config.model.ffn=16",
    "--config.model.embedding=8",
    "--config.spectrogram.sample_rate=8000",
    "--config.spectrogram.n_fft=256",
    "--config.spectrogram.hop_length=128",
    "--config.spectrogram.n_mels=8",
    "--config.segmenting.segments=2",
    "--config.segmenting.seconds=0.25",
    "--config.text.max_tokens=24",
    "--config.train.steps=2",
    "--config.train.batch_size=4",
    "--config.train.evaluate_every=2",
    "--config.optimizer.warmup_steps=1",
)
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",  # compiles in half the time
    "COLUMNS": "200",
}
# Stands in for a machine without TensorFlow, and without what leads to it.
WITHOUT_TENSORFLOW = (
    "import sys; sys.modules.update(tensorflow=None, clu=None, tensorflow_datasets=None); "
)


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess:
    start = ["-c", code] if code else ["-m"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def train(manifest: Path, workdir: Path, *more: str, config: str = "atbert_finetune"):
    return run(
        "atbert_jax.train",
        f"--config=configs/{config}.py:tiny",
        f"--workdir={workdir}",
        f"--config.data.manifest={manifest}",
        *TINY,
        *more,
    )


def one_line(result: subprocess.CompletedProcess) -> str:
    """The only line of an error that is told, not thrown."""
    assert result.returncode in (1, 2), result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Tones of two kinds, and the manifest of them."""
    folder = tmp_path_factory.mktemp("music")
    rows = ["path,text,label,split"]
    for number, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        label = ("low", "high")[number % 2]
        time = np.arange(4000) / 8000
        tone = 0.5 * np.sin(2 * np.pi * (200 + 10 * number + 2000 * (number % 2)) * time)
        soundfile.write(folder / f"{number}.wav", tone, 8000)
        rows.append(f"{number}.wav,a {label} tone of number {number},{label},{split}")
    (folder / "tracks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


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
    from atbert_jax.evaluation import split as on_split
    from atbert_jax.training import trained
    from atbert_jax.training.step import make_evaluation_step
    from input_pipeline import dataset
    from input_pipeline.bad_records import BadRecords
    from input_pipeline.batches import Batches

    model = trained.load(checkpoint)
    data = dataset.load(model.config, tmp_path, contract=model.contract, tokenizer=model.tokenizer)
    batches = Batches(model.config, data, BadRecords(None)).evaluation("test", 4)
    where = jax.tree.map(lambda x: x.sharding, model.params)
    step = make_evaluation_step(model.definition, model.mesh, where)
    ask = functools.partial(step, model.params, model.statistics)
    ((_, outputs),) = on_split.answers([ask], batches, model.mesh)

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
    """The commands each in a program of its own, since their flags have the same names."""
    code = WITHOUT_TENSORFLOW + (
        "import pkgutil, importlib, sys, atbert_jax\n"
        "names = [m.name for m in pkgutil.walk_packages(atbert_jax.__path__, 'atbert_jax.')]\n"
        "commands = 'train', 'evaluate', 'predict', 'ablate', 'convert', 'quickstart'\n"
        "commands = ['atbert_jax.' + name for name in commands]\n"
        "assert set(commands) < set(names)\n"
        "wanted = sys.argv[1:] or set(names) - set(commands)\n"
        "[importlib.import_module(name) for name in wanted]\n"
        "print(len(names))"
    )
    result = run(code=code)
    assert not result.returncode, result.stderr
    assert int(result.stdout) > 25
    for command in ("train", "evaluate", "predict", "ablate", "convert", "quickstart"):
        result = run(f"atbert_jax.{command}", code=code)
        assert not result.returncode, result.stderr


def ablate(music: Path, workdir: Path, *more: str) -> subprocess.CompletedProcess:
    return run(
        "atbert_jax.ablate",
        "--config=configs/ablation.py",
        f"--workdir={workdir}",
        f"--config.data.manifest={music / 'tracks.csv'}",
        *TINY,
        *more,
    )


def test_ablate_compares_survives_and_goes_on(music, tmp_path):
    """The base, and a cell that cannot be built."""
    result = ablate(music, tmp_path / "out", "--grid=model.heads=3", "--seeds=1")
    assert "1 of 2 runs failed" in one_line(result)
    assert "failed: model.heads=3 seed=0: model.heads=3 does not divide" in result.stdout
    cells = json.loads((tmp_path / "out" / "ablation.json").read_text())["cells"]
    assert [cell["runs"] for cell in cells] == [1, 0]
    assert [cell["model.heads"] for cell in cells] == [4, 3]
    assert cells[0]["correct_pair/roc_auc mean"] is not None
    result = ablate(music, tmp_path / "out", "--over=seed=0", "--metrics=loss")
    assert not result.returncode, result.stderr
    assert "1 runs, 1 of them done" in result.stdout
    assert str(tmp_path / "out" / "report.html") in result.stdout


def test_ablate_fine_tunes_with_the_same_model_on_the_same_data():
    code = (
        "import sys; from absl import flags; from atbert_jax import ablate; flags.FLAGS(sys.argv);"
        "config = ablate.base().finetune; print(config.data.manifest, config.data.task,"
        "config.model.layers, config.model.dropout, config.train.steps)"
    )
    result = run(
        "--config=configs/ablation.py",
        "--config.data.manifest=tracks.csv",
        "--config.model.layers=7",
        "--config.model.dropout=0.2",
        "--config.train.steps=99",
        "--finetune_config=configs/quickstart_finetune.py",
        "--finetune_config.model.dropout=0.3",
        code=code,
    )
    assert result.stdout.split() == ["tracks.csv", "single_label", "7", "0.3", "300"], result.stderr


def test_ablate_refuses_an_unknown_axis(music, tmp_path):
    line = one_line(ablate(music, tmp_path / "out", "--grid=model.layerz=1"))
    assert "choose from model.layers" in line
    assert not (tmp_path / "out").exists()


def write_manifest(music: Path, name: str, change) -> Path:
    rows = (music / "tracks.csv").read_text().splitlines()
    path = music / name
    path.write_text("\n".join(change(rows)) + "\n")
    return path


def test_missing_column(music, tmp_path):
    path = write_manifest(music, "no_path.csv", lambda rows: ["file" + rows[0][4:], *rows[1:]])
    line = one_line(train(path, tmp_path / "run"))
    assert "no_path.csv" in line
    assert "path" in line


def test_unknown_config_field(music, tmp_path):
    line = one_line(train(music / "tracks.csv", tmp_path / "run", "--config.train.stepz=3"))
    assert "stepz" in line


def test_empty_split(music, tmp_path):
    path = write_manifest(music, "no_val.csv", lambda rows: [r for r in rows if ",val" not in r])
    line = one_line(train(path, tmp_path / "run", "--config.data.val_fraction=0"))
    assert "val" in line
    assert "config.data" in line


def test_label_of_the_test_split_alone(music, tmp_path):
    path = write_manifest(
        music, "odd.csv", lambda rows: [*rows[:-1], rows[-1].replace(",high,", ",unheard,")]
    )
    line = one_line(train(path, tmp_path / "run"))
    assert "unheard" in line
    assert "test" in line


def test_unreadable_files_are_named_and_survived(music, tmp_path):
    (music / "broken.wav").write_text("no sound")
    path = write_manifest(
        music, "broken.csv", lambda rows: [*rows, "broken.wav,a broken tone,low,train"]
    )
    result = train(path, tmp_path / "run", "--config.data.max_bad_share=0.5")
    assert not result.returncode, result.stderr
    row = json.loads((tmp_path / "run" / "bad_records.jsonl").read_text().splitlines()[0])
    assert row["path"].endswith("broken.wav")
    assert "Format not recognised" in row["reason"]


def test_not_a_checkpoint(tmp_path):
    line = one_line(run("atbert_jax.predict", f"--checkpoint={tmp_path}", "some.wav"))
    assert str(tmp_path) in line
    assert "--workdir" in line


def test_a_missing_flag_is_named():
    assert "checkpoint" in one_line(run("atbert_jax.predict", "some.wav"))
