"""Every config builds, at every size, into a model that could be trained."""

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from absl import flags
from flax import nnx
from ml_collections import config_flags

from atbert_jax import command, objectives
from atbert_jax.configs import (
    atbert_finetune,
    clap_finetune,
    clap_pretrain,
    crossmodal,
    defaults,
    m3bert_finetune,
    mulap_downstream,
    mulap_pretrain,
    notes_finetune,
    tagger,
    tagger_notes,
    tagger_recipes,
)
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching.augmentation import Augmentation
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models import MODELS, taggers
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers import NETWORKS
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives import OBJECTIVES
from atbert_jax.objectives.objective import Objective
from atbert_jax.training import freezing, optimizer, starting
from atbert_jax.training.state import define, partition

NAMES = sorted(command.config_names())


def get_config(name: str) -> Callable[..., ml_collections.ConfigDict]:
    return importlib.import_module(f"atbert_jax.configs.{name}").get_config


SIZED = [
    "atbert_finetune",
    "atbert_pretrain",
    "m3bert_finetune",
    "m3bert_pretrain",
    "notes_finetune",
    "notes_pretrain",
    "spoken_words",
]
RUNS = [(name,) for name in NAMES] + [(name, size) for name in SIZED for size in defaults.PRESETS]
RUNS += [("ablation", data) for data in ("notes", "words")]
RUNS += [("tagger", f"{name},{data}") for name in sorted(NETWORKS) for data in TAG_SETS]
RUNS += [("tagger_notes", name) for name in sorted(NETWORKS)]
RUNS += [("clap_pretrain", size) for size in clap_pretrain.SIZES]
RUNS += [("clap_finetune", f"tiny,{protocol}") for protocol in atbert_finetune.PROTOCOLS]
RUNS += [("mulap_pretrain", size) for size in mulap_pretrain.SIZES]
RUNS += [("mulap_downstream", f"{task},random,finetune") for task in mulap_downstream.TASKS]
RUNS += [("tagger", recipe) for recipe in tagger_recipes.RECIPES]
RUNS += [("crossmodal", view + size) for view in crossmodal.MODALITIES for size in ("", ",small")]
RUNS += [
    ("m3bert_finetune", given)
    for given in ("small,frozen", "tiny,genre=label,mood=tags,av=numbers+valence+arousal")
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
    name, *words = run
    config = get_config(name)(*words)
    for preset in set(words) & set(defaults.PRESETS) if name in SIZED else ():
        sizes = defaults.PRESETS[preset]
        if (name.partition("_")[0], preset) == ("m3bert", "base"):
            sizes = sizes | {"layers": 3}
        for field, value in sizes.items():
            assert config.model[field] == value
    assert objectives.named(config)
    assert set(config.objectives) == set(OBJECTIVES) | set(config.data.tasks)
    _, params, _ = define(config, make_contract(config))
    transformation = optimizer.build(config.optimizer, config.train.steps)
    assert jax.tree.leaves(jax.eval_shape(transformation.init, params))
    Augmentation(**config.augmentation)
    assert config.train.batch_size % config.train.accumulate == 0
    assert config.train.steps % config.train.evaluate_every == 0
    best = config.evaluation.best_metric
    assert best == "loss" or best.split("/")[0] in objectives.named(config)


@pytest.mark.parametrize(
    ("size", "protocol"),
    [("tiny", protocol) for protocol in atbert_finetune.PROTOCOLS] + [("base", "partial")],
)
def test_a_protocol_trains_what_it_says(size, protocol):
    config = atbert_finetune.get_config(f"{size},{protocol}")
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


@pytest.mark.parametrize("given", ["tiny", "unfused", "larger"])
def test_a_clap_without_fusion_hears_ten_seconds(given):
    segmenting = clap_pretrain.get_config(given).segmenting
    assert (segmenting.segments, segmenting.seconds) == (1, 10.0)


def test_part_of_a_clap_is_its_last_stage_and_what_is_behind():
    config = clap_finetune.get_config("tiny,partial")
    _, params, _ = define(config, make_contract(config))
    trained, _ = partition(params, freezing.find(params, config.optimizer.frozen))
    assert trained["model"].keys() == {"audio_encoder", "audio_projection"}
    assert trained["model"]["audio_encoder"].keys() == {"stages", "norm"}
    assert set(trained["model"]["audio_encoder"]["stages"]) == {3}


def test_a_clap_has_the_sizes_of_the_published_ones():
    counts = {}
    for size in clap_pretrain.PUBLISHED:
        config = clap_pretrain.get_config(size)
        contract = dataclasses.replace(make_contract(config), vocabulary=50_265)
        _, params, _ = define(config, contract)
        counts[size] = sum(leaf.size for leaf in jax.tree.leaves(params["model"]))
    # As `test_published_clap` has them from transformers, with 77 positions and one token type.
    assert counts == {"unfused": 153_156_504, "fused": 153_171_144, "larger": 193_577_496}


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_being_stored(name):
    config = get_config(name)()
    stored = ml_collections.ConfigDict(json.loads(config.to_json_best_effort()))
    starting.require_same(stored, config, Path("run"))
    define(stored, make_contract(stored))


def test_the_words_of_a_config_of_notes_are_those_of_fine_tuning():
    config = notes_finetune.get_config("linear_probe")
    assert config.model.hidden == defaults.PRESETS["tiny"]["hidden"]
    assert config.optimizer.frozen == ("^model/",)


def test_tasks_have_the_columns_that_are_named_or_those_of_their_names():
    config = m3bert_finetune.get_config("mood=tags,av=numbers+valence+arousal,tiny")
    tasks = {name: (task.kind, task.columns) for name, task in config.data.tasks.items()}
    assert tasks == {
        "mood": ("multi_label", ("mood",)),
        "av": ("regression", ("valence", "arousal")),
    }
    assert objectives.named(config) == ["av", "mood"]


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tagger_of_notes_hears_enough(name):
    config = tagger_notes.get_config(name)
    contract = make_contract(config)
    samples = contract.segmenting.samples(contract.spectrogram.sample_rate)

    def run() -> jax.Array:
        network = taggers.build(config, name, contract, rngs=Keys(0))
        return network(jnp.zeros((2, samples)), jnp.ones(2), None)

    assert nnx.eval_shape(run).shape[0] == 2


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
        for name in ("pretrained", "random", "supervised")
    }
    assert limits == {"pretrained": 80.0, "random": 80.0, "supervised": 0.0}
    assert mulap_pretrain.get_config("tiny").tagger.top_db == 80.0


def test_mulap_has_its_published_weights():
    config = mulap_pretrain.get_config("base")
    weights = {"masked_language": 0.1, "masked_audio": 4.0, "correct_pair": 2.0}
    assert {name: config.objectives[name] for name in objectives.named(config)} == weights


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        *[(name, "huge", "config word='huge' is none of tiny, small, base") for name in SIZED],
        ("atbert_finetune", "tiny,full_", "word='full_' is none of .*; did you mean 'full'"),
        ("atbert_finetune", "tiny:full", "word='tiny:full' is none of tiny, small, base, linear"),
        ("atbert_finetune", "tiny,base", "'tiny,base': size cannot be tiny and base"),
        ("ablation", "speech", "word='speech' is none of music, notes, words"),
        ("tagger", "vgg", "word='vgg' is none of fcn, .*, gtzan, .*, noisy_student"),
        ("tagger", "fcn,,modern", "config word='' is none of"),
        ("tagger", "fcn,set=mtat", "config word='set=' is none of network=, data=, recipe="),
        ("tagger_notes", "musicn", "did you mean 'musicnn'"),
        ("crossmodal", "video", "word='video' is none of audio_text, audio, text, small"),
        ("mulap_pretrain", "small", "word='small' is none of base, tiny"),
        (
            "mulap_downstream",
            "task=gtzan",
            "config word task='gtzan' is none of jamendo, mtat, emomusic",
        ),
        ("mulap_downstream", "mtat,probe", "word='probe' is none of .*, frozen, finetune"),
        ("m3bert_finetune", "tiny,frozn", "word='frozn' is none of .*; did you mean 'frozen'"),
        ("m3bert_finetune", "genre=name", "task genre='name' is none of label, tags, numbers"),
    ],
)
def test_unknown_words_are_refused_with_the_choices(name, given, message):
    with pytest.raises(ValueError, match=message):
        get_config(name)(given)


def test_what_is_new_in_a_table_is_in_the_config(monkeypatch):
    class Quiet(Objective):
        """It has no settings."""

    class Loud(Quiet):
        defaults = MappingProxyType({"level": 0.5})

    class Choir(Trunk):
        defaults = MappingProxyType({"choir": {"voices": 4}})

    monkeypatch.setitem(OBJECTIVES, "quiet", Quiet)
    monkeypatch.setitem(OBJECTIVES, "loud", Loud)
    monkeypatch.setitem(MODELS, "choir", Choir)
    monkeypatch.setitem(MODELS, "trunk", Trunk)
    config = defaults.get_config("tiny")
    assert (config.quiet.to_dict(), config.loud.level, config.choir.voices) == ({}, 0.5, 4)
    config.objectives.update({"quiet": 1, "loud": 2.0})
    assert objectives.named(config) == ["loud", "quiet"]
    json.loads(config.to_json())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_settings_and_is_switched_on_from_the_command_line(name):
    arguments = [
        "train",
        f"--config={command.config_file('atbert_pretrain:tiny')}",
        f"--config.objectives.{name}=0.5",
    ]
    values = flags.FlagValues()
    given = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    assert given.value.objectives[name] == 0.5
    assert set(objectives.named(given.value)) == {"alignment", "correct_pair", name}
    assert given.value[name]
