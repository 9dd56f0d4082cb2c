"""Every config builds, at every size, into a model that could be trained."""

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from flax import nnx

import atbert_jax.configs
from atbert_jax.configs import (
    atbert_finetune,
    crossmodal,
    defaults,
    m3bert_finetune,
    mulap_downstream,
    mulap_pretrain,
    tagger,
    tagger_notes,
    tagger_recipes,
)
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching.log_mel import Augmentation
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models import taggers
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers import NETWORKS
from atbert_jax.objectives import OBJECTIVES
from atbert_jax.training import freezing, optimizer, starting
from atbert_jax.training.state import define, partition

FOLDER = Path(atbert_jax.configs.__file__).parent
SHARED = ("__init__", "defaults", "tagger_recipes")
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


def get_config(name: str) -> Callable[..., ml_collections.ConfigDict]:
    return importlib.import_module(f"atbert_jax.configs.{name}").get_config


SIZED = [name for name in NAMES if "preset" in inspect.signature(get_config(name)).parameters]
RUNS = [(name,) for name in NAMES] + [(name, size) for name in SIZED for size in defaults.PRESETS]
RUNS += [("ablation", data) for data in ("notes", "words")]
RUNS += [("tagger", f"{name},{data}") for name in sorted(NETWORKS) for data in TAG_SETS]
RUNS += [("tagger_notes", name) for name in sorted(NETWORKS)]
RUNS += [("mulap_pretrain", size) for size in mulap_pretrain.SIZES]
RUNS += [("mulap_downstream", f"{task},random,finetune") for task in mulap_downstream.TASKS]
RUNS += [("tagger", f"musicnn,,{recipe}") for recipe in tagger_recipes.RECIPES]
RUNS += [("crossmodal", view + size) for view in crossmodal.MODALITIES for size in ("", ",small")]
RUNS += [("m3bert_pretrain", size) for size in defaults.PRESETS]
RUNS += [
    ("m3bert_finetune", given)
    for given in ("tiny", "small,frozen", "tiny,genre=label,mood=tags,av=numbers:valence+arousal")
]


def make_contract(config: ml_collections.ConfigDict) -> Contract:
    """As a data set of two labels, or two numbers, would make it."""
    numbers = {"mean": (0.0, 0.0), "std": (1.0, 1.0)}

    def labels(kind: str, name: str = "") -> Labels:
        names = ("one", "other") if kind else ()
        return Labels(kind, names, **(numbers if kind == "regression" else {}), name=name)

    tasks = tuple(labels(task.kind, name) for name, task in config.data.tasks.items())
    tokenizer = tokenizer_without_text()
    contract = dataset.make_contract(config, tokenizer, labels(config.data.task), tasks)
    return dataclasses.replace(contract, vocabulary=config.text.vocabulary)


def test_there_are_configs_for_both_stages():
    assert {"atbert_pretrain", "atbert_finetune"} <= set(NAMES)


@pytest.mark.parametrize("run", RUNS, ids=":".join)
def test_a_config_describes_a_run(run):
    name, *size = run
    config = get_config(name)(*size)
    for preset in set(size) & set(defaults.PRESETS) if name in SIZED else ():
        for field, value in defaults.PRESETS[preset].items():
            assert config.model[field] == value
    assert config.objectives
    assert set(config.objectives) <= set(OBJECTIVES) | set(config.data.tasks)
    _, params, _ = define(config, make_contract(config))
    transformation = optimizer.build(config.optimizer, config.train.steps)
    assert jax.tree.leaves(jax.eval_shape(transformation.init, params))
    Augmentation(**config.augmentation)
    assert config.train.batch_size % config.train.accumulate == 0
    assert config.train.steps % config.train.evaluate_every == 0
    best = config.evaluation.best_metric
    assert best == "loss" or best.split("/")[0] in config.objectives


PROTOCOLS = tuple(atbert_finetune.protocols((1,)))


@pytest.mark.parametrize(
    "preset", [f"tiny:{protocol}" for protocol in PROTOCOLS] + ["base:partial"]
)
def test_a_protocol_trains_what_it_says(preset):
    size, protocol = preset.split(":")
    config = atbert_finetune.get_config(preset)
    _, params, _ = define(config, make_contract(config))
    trained, _ = partition(params, freezing.find(params, config.optimizer.frozen))
    head = {"output"} if protocol == "linear_probe" else {"dense", "output"}
    assert set(trained["objectives"]["classification"]) == head
    trunk, stages = trained.get("model", {}), config.model.depths
    if protocol == "partial":
        assert trunk["audio_cnn"].keys() == {"blocks"}
        assert set(trunk["audio_cnn"]["blocks"]) == set(range(sum(stages[:-1]), sum(stages)))
        lower = {"word_embeddings", "text_positions", "text_norm"}
        assert trunk.keys() == params["model"].keys() - lower
    else:
        assert trunk == (params["model"] if protocol == "full" else {})
    plain = atbert_finetune.get_config(size).optimizer.learning_rate
    assert config.optimizer.learning_rate == 10 * plain
    assert config.optimizer.trunk_rate == pytest.approx(0.1 if trunk else 1.0)


def test_an_unknown_protocol_is_refused_with_the_choices():
    message = "no protocol 'half'; use one of linear_probe, mlp_probe, partial, full"
    with pytest.raises(ValueError, match=message):
        atbert_finetune.get_config("tiny:half")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_being_stored(name):
    config = get_config(name)()
    stored = ml_collections.ConfigDict(json.loads(config.to_json_best_effort()))
    starting.require_same(stored, config, Path("run"))
    define(stored, make_contract(stored))


@pytest.mark.parametrize("name", SIZED)
def test_an_unknown_size_is_refused_with_the_choices(name):
    with pytest.raises(ValueError, match="no preset 'huge'; use one of tiny, small, base"):
        get_config(name)("huge")


@pytest.mark.parametrize(
    ("name", "samples", "bands", "frames"),
    [
        ("fcn", 464_000, 96, 1813),
        ("crnn", 464_000, 96, 1813),
        ("musicnn", 48_000, 96, 188),
        ("sample_cnn", 59_049, None, None),
        ("se_cnn", 59_049, None, None),
        ("short_chunk", 59_049, 128, 231),
        ("short_chunk_res", 59_049, 128, 231),
        ("harmonic_cnn", 80_000, 128, 313),
        ("self_attention", 240_000, 128, 938),
        ("music_transformer", 220_500, 128, 431),
    ],
)
def test_a_tagger_hears_what_it_was_published_with(name, samples, bands, frames):
    config = tagger.get_config(f"{name},jamendo")
    contract = make_contract(config)
    assert contract.segmenting.samples(contract.spectrogram.sample_rate) == samples
    if bands:
        assert contract.spectrogram.n_mels == bands
        assert contract.spectrogram.frame_count(samples) == frames
    assert len(config.data.labels) == 50


@pytest.mark.parametrize(
    ("given", "task", "labels"),
    [("musicnn", "multi_label", 0), ("musicnn,gtzan", "single_label", 10)],
)
def test_a_tagger_without_tags_or_of_genres(given, task, labels):
    config = tagger.get_config(given)
    assert config.data.task == task
    assert len(config.data.labels) == labels
    assert not config.tagger.wide
    assert tagger.get_config("musicnn,msd").tagger.wide


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vgg", "no tagger 'vgg'; use one of fcn, crnn, musicnn,"),
        ("fcn,fma", "no data set 'fma' of a tagger; use one of gtzan, jamendo, msd, mtat"),
    ],
)
def test_unknown_taggers_and_data_sets_are_refused_with_the_choices(given, message):
    with pytest.raises(ValueError, match=message):
        tagger.get_config(given)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tagger_of_notes_hears_enough(name):
    config = tagger_notes.get_config(name)
    contract = make_contract(config)
    samples = contract.segmenting.samples(contract.spectrogram.sample_rate)

    def run() -> jax.Array:
        network = taggers.build(config, name, contract, rngs=Keys(0))
        return network(jnp.zeros((2, samples)), jnp.ones(2), None)

    assert nnx.eval_shape(run).shape[0] == 2


@pytest.mark.parametrize("given", ["video", "audio,large"])
def test_unknown_modalities_are_refused_with_the_choices(given):
    message = f"no cross-modal transformer '{given}'; use one of audio_text, audio, text, with"
    with pytest.raises(ValueError, match=message):
        crossmodal.get_config(given)


@pytest.mark.parametrize(("mode", "frozen"), [("frozen", True), ("finetune", False)])
def test_a_task_of_mulap_trains_the_head_and_the_backbone_if_asked(mode, frozen):
    config = mulap_downstream.get_config(f"emomusic,pretrained,{mode}")
    _, params, _ = define(config, make_contract(config))
    trained, _ = partition(params, freezing.find(params, config.optimizer.frozen))
    assert ("model" not in trained) == frozen
    head = trained["objectives"]["classification"]
    assert head["dense"]["kernel"].shape == (1506, 1024)


def test_backbones_of_mulap_hear_as_they_were_trained():
    """The published MusiCNN has no limit below its loudest band."""
    limits = {
        name: mulap_downstream.get_config(f"mtat,{name}").tagger.top_db
        for name in mulap_downstream.BACKBONES
    }
    assert limits == {"pretrained": 80.0, "random": 80.0, "supervised": 0.0}
    assert mulap_pretrain.get_config("tiny").tagger.top_db == 80.0


def test_mulap_has_its_published_weights():
    config = mulap_pretrain.get_config("base")
    weights = {"masked_language": 0.1, "masked_audio": 4.0, "correct_pair": 2.0}
    assert config.objectives.to_dict() == weights


@pytest.mark.parametrize(
    ("build", "given", "message"),
    [
        (mulap_pretrain, "small", "no size 'small'; use one of base, tiny"),
        (mulap_downstream, "gtzan", "'gtzan' is none of jamendo, mtat, emomusic, fma_small"),
        (mulap_downstream, "mtat,best", "'best' is none of pretrained, random, supervised"),
        (mulap_downstream, "mtat,random,probe", "'probe' is none of frozen, finetune"),
    ],
)
def test_unknown_words_of_mulaps_configs_are_refused(build, given, message):
    with pytest.raises(ValueError, match=message):
        build.get_config(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tiny,frozn", "'frozn' is neither 'frozen' nor a task as genre=label"),
        ("tiny,genre=name", "task 'genre' of kind 'name'; use one of label, tags, numbers"),
    ],
)
def test_unknown_words_of_tasks_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        m3bert_finetune.get_config(given)
