"""A program of StableHLO answers as `predict` does, in a process that has JAX alone."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from atbert_jax.configs import m3bert_finetune
from atbert_jax.evaluation import stablehlo
from atbert_jax.evaluation.prediction import Predictor, unknown_fields
from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.taggers import fcn
from atbert_jax.training import trained
from tests import tiny, tones
from tests.commands import one_line, run
from tests.training.test_tagger_run import FIELDS, LAYERS

# What a person writes who has no `atbert_jax`.
LOADER = """
import sys
import numpy as np
from jax import export
with open("model.stablehlo", "rb") as file:
    model = export.deserialize(bytearray(file.read()))
given = dict(np.load(sys.argv[1]))
np.savez(sys.argv[2], **model.call(given))
assert not any(name.startswith(("atbert", "flax", "tensorflow")) for name in sys.modules)
"""
MODELS = {
    "atbert": {
        **tiny.MODEL,
        "objectives.classification": 1.0,
        "objectives.correct_pair": 1.0,
        "objectives.alignment": 1.0,
        "classification.views": ("audio", "text", "audio_text"),
    },
    "tagger": FIELDS | {"data.task": "single_label", "segmenting.seconds": 0.5},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory) -> Iterator[trained.Trained]:
    folder = tmp_path_factory.mktemp(request.param)
    manifest = tones.write_manifest(folder, 4, 2, 6, seconds=(0.5, 0.8, 1.3))
    config = tones.make_config(manifest, **{"normalization": "none", **MODELS[request.param]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcn, "LAYERS", LAYERS)
        patch.setattr(fcn.FCN, "features", LAYERS[-1][0])
        tiny.save_run(folder / "run", config)
        yield trained.load(folder / "run")


def rows_of(model: trained.Trained, given: dict, rows: int) -> dict[str, np.ndarray]:
    """Noise, of which some is behind the end, and words."""
    rng, contract = np.random.default_rng(0), model.contract
    found = {}
    for name, entry in given.items():
        shape = (rows, *entry["shape"][1:])
        found[name] = {
            "waveform": rng.uniform(-0.5, 0.5, shape).astype(np.float32),
            "samples": np.full(shape, contract.segmenting.samples(8000), np.int32),
        }.get(name)
    if "samples" in found:
        found["samples"][1:, 1:] = 0
        found["waveform"] *= found["samples"][..., None] > 0
    if "token_ids" in found:
        texts = ["a high tone", "a low tone", "low"][:rows]
        ids, mask = tokenization.tokenize(model.tokenizer, texts, contract.max_tokens)
        found |= {"token_ids": ids, "token_mask": mask}
    return found


def asked(model: trained.Trained, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the step of `Predictor` gives, which has a shape of its own."""
    predictor, rows = Predictor(model), len(given["waveform"])
    batch = {name: value for name, value in given.items() if name != "samples"}
    batch |= predictor.reader.masks(given["samples"])
    ids, mask = tokenization.tokenize(model.tokenizer, [""] * rows, model.contract.max_tokens)
    batch = {"token_ids": ids, "token_mask": mask} | batch
    batch |= unknown_fields(model.contract, rows)
    outputs, embeddings = predictor._step(model.params, model.statistics, batch, None)
    return tiny.named({**outputs, "embedding": embeddings})


def test_a_process_with_jax_alone_answers_as_predict_does(model, tmp_path):
    about = stablehlo.write(model, tmp_path / "exported")
    written = (tmp_path / "exported" / "model.json").read_text(encoding="utf-8")
    assert json.loads(written) == json.loads(json.dumps(about))
    given = rows_of(model, about["inputs"], 3)
    np.savez(tmp_path / "given.npz", **given)
    subprocess.run(
        [sys.executable, "-c", LOADER, tmp_path / "given.npz", tmp_path / "answers.npz"],
        cwd=tmp_path / "exported",
        check=True,
    )
    found, expected = np.load(tmp_path / "answers.npz"), asked(model, given)
    assert set(found) == set(about["outputs"])
    assert {"embedding/audio", "classification/audio"} <= set(found)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert about["labels"][0]["names"] == model.contract.labels.names


def test_any_number_of_rows_and_all_platforms(model):
    program = stablehlo.export_program(model, stablehlo.PLATFORMS)
    assert program.platforms == stablehlo.PLATFORMS
    about = stablehlo.describe(model, program)
    three = program.call(rows_of(model, about["inputs"], 3))
    one = program.call(rows_of(model, about["inputs"], 1))
    for name, values in one.items():
        assert values.shape[1:] == three[name].shape[1:]
        assert about["outputs"][name]["shape"] == ["B", *values.shape[1:]]


def test_the_arrays_are_there_by_name(model, tmp_path):
    stablehlo.write(model, tmp_path / "exported", ["cpu"])
    arrays = load_file(tmp_path / "exported" / "weights.safetensors")
    for name, value in tiny.named(model.params).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert (tmp_path / "exported" / "contract.json").exists()


def test_a_folder_with_something_in_it_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        stablehlo.write(model, tmp_path)


def test_the_command_and_the_program_of_the_documentation(tone_run, tmp_path):
    result = run("atbert_jax.export", "--platforms=cpu", tone_run, tmp_path / "exported")
    assert not result.returncode, result.stderr
    assert "gives classification/audio, embedding/audio" in result.stdout
    page = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "predict.md"
    [program] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert set(re.findall(r"'(\w+)': ", said)) == {"low", "high"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "atbert export RUN FOLDER"),
        (["{run}", "{folder}", "--platforms=gpu"], "--platforms='gpu' is none of cpu, cuda, tpu"),
        (["{run}", "{run}"], "exists already"),
        (["{folder}", "{folder}"], "not a checkpoint folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(tone_run, tmp_path, arguments, says):
    places = {"run": tone_run, "folder": tmp_path / "new"}
    line = one_line(run("atbert_jax.export", *(each.format(**places) for each in arguments)))
    assert says in line


def test_a_model_of_musical_features_takes_frames(tmp_path):
    manifest = tones.write_manifest(tmp_path, 4, 2, 2, seconds=3.0)
    config = m3bert_finetune.get_config("tiny")
    config.data.manifest, config.normalization = str(manifest), "none"
    tiny.save_run(tmp_path / "run", config)
    model = trained.load(tmp_path / "run")
    program = stablehlo.export_program(model, ["cpu"])
    record = read_manifest(manifest)[-1]
    frames, real = make_reader(model.contract).segments(record)
    found = program.call({"frames": frames[None], "real": real[None]})
    [answer] = Predictor(model).predict([record])
    np.testing.assert_allclose(found["classification/audio"], answer.chunk_scores, rtol=1e-4)
