"""Starting from converted weights: what is taken, where it lives, and what does not fit."""

import contextlib
import io
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from atbert_jax.conversion import convert_folder as conversion
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training import converted, run_folder
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, split
from atbert_jax.weights import albert_rules, engine
from tests import pytorch, tiny

DEPTHS = tiny.MODEL["model.depths"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A converted ALBERT with a tokenizer, and a converted ResNet."""
    folder = tmp_path_factory.mktemp("weights")
    sources, console = folder / "pytorch", Console(file=io.StringIO())
    captions = [f"a {tone} tone number {n}" for n in range(9) for tone in ("low", "high")]
    model = tokenization.train_sentencepiece(captions, sources / "albert" / "spiece.model", 60)
    vocabulary = len(tokenization.load_tokenizer(model))
    pytorch.save_albert(sources / "albert", vocabulary=vocabulary)
    pytorch.save(sources / "resnet", pytorch.resnet(DEPTHS, 4, "torchvision"))
    for family in ("albert", "resnet"):
        conversion.from_pytorch(family, str(sources / family), folder / family, console=console)
    return SimpleNamespace(
        text=folder / "albert",
        audio=folder / "resnet",
        tokenizer=tokenization.load_tokenizer(folder / "albert"),
    )


@pytest.fixture
def start(folders):
    """Starts a new state by a config with changes; returns both states and the lines."""

    def run(tokenizer=folders.tokenizer, **changes):
        fields = {"objectives.correct_pair": 1.0, "text.max_tokens": tiny.TOKENS}
        config = tiny.make_config(**(fields | changes))
        contract = tiny.make_contract(vocabulary=len(folders.tokenizer))
        learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)), seed=1)
        _, params, statistics = split(learner)
        before = fresh(params, statistics, optax.identity())
        dataset = SimpleNamespace(contract=contract, tokenizer=tokenizer)
        after, _, lines = converted.start_from(before, config, dataset)
        return before, after, lines

    return run


def arrays(state) -> dict[str, jax.Array]:
    return engine.flat(state.params, state.statistics)


def test_each_part_is_filled_and_nothing_else(folders, start):
    both = {"init.text": str(folders.text), "init.audio": str(folders.audio)}
    before, after, lines = start(**both)
    weights = [
        load_file(folder / "weights.safetensors") for folder in (folders.text, folders.audio)
    ]
    weights = weights[0] | weights[1]
    old, new = arrays(before), arrays(after)
    filled = {
        name: albert_rules.in_file(name) for name in new if albert_rules.in_file(name) in weights
    }
    unused = [name for name in weights if name.startswith("objectives/")]
    assert len(filled) == len(weights) - len(unused) == 22 + 25
    for name, value in new.items():
        expected = weights[filled[name]] if name in filled else np.asarray(old[name])
        if name == "model/text_positions":
            assert len(expected) == pytorch.POSITIONS
            expected = expected[: tiny.TOKENS]
        np.testing.assert_array_equal(value, expected, err_msg=name)
        assert value.dtype == old[name].dtype
        assert name not in filled or np.abs(value - old[name]).max() > 0
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert lines == [
        f"from {folders.text}: 22 arrays taken over",
        f"  not used here: {', '.join(sorted(unused))}",
        "  its layer is applied 3 times there, 1 here",
        f"from {folders.audio}: 25 arrays taken over",
    ]


def test_without_folders_nothing_changes(start):
    before, after, lines = start()
    assert arrays(before) == arrays(after)
    assert lines == []


def test_a_stem_that_was_left_out_stays_new(folders, start, tmp_path):
    console, source = Console(file=io.StringIO()), str(folders.audio.parent / "pytorch" / "resnet")
    conversion.from_pytorch("resnet", source, tmp_path / "out", stem="random", console=console)
    before, after, _ = start(**{"init.audio": str(tmp_path / "out")})
    old, new = arrays(before), arrays(after)
    changed = {name for name in new if new[name] is not old[name]}
    assert len(changed) == 20
    assert not any("stem" in name for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.hidden": 32, "model.heads": 4},
            r"albert does not fit the model: hidden 16 there, 32 here, heads 2 there, 4 here; set"
            r" --config\.model\.hidden=16 --config\.model\.heads=2$",
        ),
        (
            {"model.depths": (2, 1)},
            r"resnet does not fit the model: depths '\(1,\)' there, '\(2,1,\)' here; set"
            r" --config\.model\.depths='\(1,\)'$",
        ),
        ({"text.max_tokens": 13}, r"albert has 12 positions, .*set --config\.text\.max_tokens=12"),
        ({"init_from": "runs/other"}, r"config\.init_from='runs/other' both bring a trunk"),
        ({"init.text": "nowhere"}, r"nowhere: no conversion\.json here; .*convert albert SOURCE"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(folders, changes, message):
    names = {"init.text": str(folders.text), "init.audio": str(folders.audio), "text.max_tokens": 6}
    with pytest.raises(ValueError, match=message):
        converted.find(tiny.make_config(**(names | changes)))


def test_the_families_are_told_apart(folders):
    with pytest.raises(ValueError, match="resnet: family='resnet' is none of albert, bert"):
        converted.find(tiny.make_config(**{"init.text": str(folders.audio)}))


def test_an_albert_needs_its_own_tokenizer(folders, start, tmp_path):
    alone = shutil.copytree(folders.text, tmp_path / "alone", ignore=lambda *_: ["tokenizer.json"])
    with pytest.raises(ValueError, match=r"alone has no tokenizer; set --config\.text\.tokenizer"):
        start(**{"init.text": str(alone)})
    start(**{"init.text": str(alone), "text.tokenizer": "anywhere"})
    smaller = tokenization.tokenizer_without_text()
    with pytest.raises(ValueError, match=r"has a vocabulary of \d+, the tokenizer of this run one"):
        start(smaller, **{"init.text": str(folders.text)})
    pieces = folders.tokenizer.convert_ids_to_tokens(range(len(folders.tokenizer)))
    reordered = type(smaller)(vocab=[(piece, 0.0) for piece in [*pieces[:5], *pieces[:4:-1]]])
    with pytest.raises(ValueError, match="albert has another tokenizer than this run; leave"):
        start(reordered, **{"init.text": str(folders.text)})


def test_a_run_starts_from_both_and_goes_on_without_them(
    folders, tone_manifest, tone_config, tmp_path
):
    config = tone_config(
        tone_manifest(),
        **tiny.MODEL,
        **{
            "init.text": str(shutil.copytree(folders.text, tmp_path / "albert")),
            "init.audio": str(shutil.copytree(folders.audio, tmp_path / "resnet")),
            "objectives.correct_pair": 1.0,
            "train.batch_size": 4,
        },
    )
    console, workdir = Console(file=io.StringIO(), width=400), tmp_path / "run"
    state = tiny.start(config, workdir, console)
    assert f"from {tmp_path / 'albert'}: 22 arrays taken over" in console.file.getvalue()
    found, weights = arrays(state), load_file(folders.audio / "weights.safetensors")
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    everywhere = sharding.replicated(sharding.make_mesh())
    assert all(x.sharding.is_equivalent_to(everywhere, x.ndim) for x in found.values())
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        checkpoints.save(state, None)
    run_folder.save_run(workdir, config, *run_folder.load_preprocessing(workdir))
    for name in ("albert", "resnet"):
        shutil.rmtree(tmp_path / name)
    again = tiny.start(config, workdir, console)
    assert "goes on at step 0" in console.file.getvalue()
    for name, value in arrays(again).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)
