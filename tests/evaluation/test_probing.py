"""A probe from end to end: fitted, measured, asked, and what it does not look at."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import atbert_jax
from atbert_jax.configs import probe as probe_config
from atbert_jax.evaluation import probed_features, probing, stablehlo
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.training import trained
from tests.commands import WITHOUT_TENSORFLOW, one_line, run

pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")


def make_config(manifest, task="single_label", **changes):
    config = probe_config.get_config(task)
    config.data.manifest = str(manifest)
    config.spectrogram.sample_rate = 8000
    config.update_from_flattened_dict(changes)
    return config


def fit(config, workdir, *sources, cache=None):
    console = Console(file=io.StringIO(), width=120)
    chosen = probing.probe(config, sources, workdir, cache or workdir.parent / "cache", console)
    return chosen, console.file.getvalue()


def test_a_probe_of_a_run_is_like_any_other_run(tone_run, tone_manifest, tmp_path):
    manifest = tone_manifest(8, 4, 6, seconds=(0.5, 0.8, 1.3), name="other.csv")
    chosen, said = fit(make_config(manifest), tmp_path / "probe", tone_run)
    compared = {row["features"]: row["loss"] for row in chosen["compared"]}
    assert compared.keys() == {"run", "mfcc", probing.TOGETHER}
    assert chosen["clips"] == 8
    best = min(compared, key=compared.get)
    assert chosen["features"] == (["run", "mfcc"] if best == probing.TOGETHER else [best])
    assert f"atbert evaluate --checkpoint {tmp_path / 'probe'}" in said
    assert json.loads((tmp_path / "probe" / probing.CHOSEN).read_text())["clips"] == 8
    console = Console(file=io.StringIO())
    metrics = evaluate(
        tmp_path / "probe", "test", tmp_path / "report", console=console, with_baseline=False
    )
    assert metrics["classification"]["audio"]["accuracy"] == 1.0
    model = atbert_jax.load(tmp_path / "probe")
    clip = manifest.parent / "test1.wav"
    assert max(model.tag(clip).items(), key=lambda item: item[1])[0] == "high"
    (embedding,) = model.embed_audio(clip)
    assert embedding.shape == (trained.load(tmp_path / "probe").learner.model.hidden,)


def test_answers_need_neither_tensorflow_nor_scikit_learn(tone_run, tone_manifest, tmp_path):
    manifest = tone_manifest(8, 2, 2, name="other.csv")
    fit(make_config(manifest), tmp_path / "probe", tone_run)
    code = WITHOUT_TENSORFLOW + (
        "sys.modules['sklearn'] = None; from atbert_jax import command, predict;"
        " command.run(predict.main, required=('checkpoint',), takes_arguments=True)"
    )
    flags = ["--checkpoint", tmp_path / "probe", "--json"]
    result = run(*flags, manifest.parent / "test0.wav", code=code)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["prediction"] == "low"


def test_a_probe_is_exported_like_any_other_run(tone_run, tone_manifest, tmp_path):
    manifest = tone_manifest(6, 2, 2, name="other.csv")
    fit(make_config(manifest), tmp_path / "probe", tone_run)
    model = trained.load(tmp_path / "probe")
    program = stablehlo.export_program(model, ["cpu"])
    reader = make_reader(model.contract)
    record = read_manifest(manifest)[-1]
    sound, real = reader.segments(record)
    found = program.call({"waveform": sound[None], "samples": real[None]})
    [answer] = Predictor(model).predict([record])
    np.testing.assert_allclose(found["classification/audio"], answer.chunk_scores, rtol=1e-4)


def test_features_are_kept(tone_run, tone_manifest, tmp_path, monkeypatch):
    manifest, opened = tone_manifest(6, 2, 2, name="other.csv"), []
    real = probed_features.Reader.segments

    def note(self, record, chunk):
        opened.append(record.id)
        return real(self, record, chunk)

    monkeypatch.setattr(probed_features.Reader, "segments", note)
    first, _ = fit(make_config(manifest), tmp_path / "one", tone_run)
    assert sorted(opened) == [f"train{n}" for n in range(6)]  # and of no other split
    opened.clear()
    second, _ = fit(make_config(manifest), tmp_path / "two", tone_run)
    assert not opened
    assert first == second
    for name in ("kernel", "bias"):
        one, two = (
            trained.load(tmp_path / run).params["objectives"]["classification"]["output"][name]
            for run in ("one", "two")
        )
        np.testing.assert_array_equal(one, two)
    # A file that has changed is heard again.
    (manifest.parent / "train0.wav").write_bytes((manifest.parent / "test1.wav").read_bytes())
    fit(make_config(manifest), tmp_path / "three", tone_run)
    assert opened == ["train0"]


def write(manifest, column: str, values: list[str]):
    """A manifest beside another one, with another column in the place of the labels."""
    lines = manifest.read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    names = ["id", "path", column, "split"]
    table = [
        ",".join([row[0], row[1], value, row[4]]) for row, value in zip(rows, values, strict=True)
    ]
    path = manifest.with_name(f"{column}.csv")
    path.write_text("\n".join([",".join(names), *table]) + "\n")
    return path


def test_tags_and_numbers(tone_run, tone_manifest, tmp_path):
    manifest = tone_manifest(10, 4, 6, name="other.csv")
    pitches = [
        (200, 2000)[n % 2] * (1 + n / (2 * count)) for count in (10, 4, 6) for n in range(count)
    ]
    tags = ["sound|low" if pitch < 1000 else "sound|high" for pitch in pitches]
    config = make_config(write(manifest, "labels", tags), "multi_label")
    fit(config, tmp_path / "tags", tone_run)
    answer = atbert_jax.load(tmp_path / "tags").predict(manifest.parent / "test1.wav")
    assert sorted(answer["prediction"]) == ["high", "sound"]
    numbers = write(manifest, "pitch", [str(pitch) for pitch in pitches])
    config = make_config(numbers, "regression", **{"data.target_columns": ("pitch",)})
    fit(config, tmp_path / "numbers", tone_run)
    answer = atbert_jax.load(tmp_path / "numbers").predict(manifest.parent / "test1.wav")
    assert answer["prediction"]["pitch"] == pytest.approx(2000 * (1 + 1 / 12), rel=0.25)


def test_long_clips_are_several_chunks(tone_manifest, tmp_path):
    manifest = tone_manifest(6, 2, 2, seconds=(0.5, 1.3), name="other.csv")
    config = make_config(manifest, **{"segmenting.seconds": 0.6})
    chosen, _ = fit(config, tmp_path / "probe")
    assert chosen["clips"] == 3 + 3 * 3
    contract = trained.load(tmp_path / "probe").contract
    assert contract.segmenting.seconds == 0.6
    fit(make_config(manifest), tmp_path / "longer")
    contract = trained.load(tmp_path / "longer").contract
    assert contract.segmenting.seconds == 1.3


def test_bad_files_are_left_out_or_end_it(tone_manifest, tmp_path):
    manifest = tone_manifest(6, 2, 2, name="other.csv")
    (manifest.parent / "train0.wav").write_bytes(b"no sound")
    chosen, _ = fit(make_config(manifest, **{"data.max_bad_share": 0.2}), tmp_path / "probe")
    assert chosen["clips"] == 5
    with pytest.raises(ValueError, match="1 of 6 clips cannot be read"):
        fit(make_config(manifest), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_wrong_is_one_line(tone_run, tone_manifest, tmp_path):
    manifest = tone_manifest(6, 2, 2, name="other.csv")
    there = f"--config.data.manifest={manifest}"
    cache, probe = f"--cache={tmp_path / 'cache'}", "--config=probe"
    result = run("atbert_jax.probe", probe, "--workdir", tone_run, cache, there)
    assert "exists already" in one_line(result)
    result = run("atbert_jax.probe", probe, "--workdir", tmp_path / "new", there, tmp_path / "no")
    assert "not a checkpoint folder" in one_line(result)
    result = run("atbert_jax.probe", "--config=tagger", "--workdir", tmp_path / "new", cache, there)
    assert "config.model.name" in one_line(result)
    assert not (tmp_path / "new").exists()
