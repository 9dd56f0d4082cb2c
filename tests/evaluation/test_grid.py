"""Axes are read in the types of the config's fields, and make the cells that they should."""

import itertools

import pytest

from atbert_jax import objectives
from atbert_jax.configs import atbert_finetune, atbert_pretrain
from atbert_jax.evaluation import grid
from tests import tiny


@pytest.fixture(scope="module")
def config():
    config = tiny.make_config(**{"model.layers": 2})
    config.objectives.correct_pair = config.objectives.alignment = 1.0
    return config.lock()


def weights(config):
    return {name: config.objectives[name] for name in objectives.named(config)}


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("model.layers=1,2,4", "model.layers", (1, 2, 4)),
        ("model.layers=1,1", "model.layers", (1,)),
        ("model.dropout=0,1e-1", "model.dropout", (0.0, 0.1)),
        ("model.remat=true,0", "model.remat", (True, False)),
        ("model.depths=(1,),(1, 2)", "model.depths", ((1,), (1, 2))),
        ("classification.views=audio,('audio','text')", None, (("audio",), ("audio", "text"))),
        ("data.hold_out=fold=1,fold=2", "data.hold_out", ("fold=1", "fold=2")),
        ("data.hold_out=,fold=a=b", "data.hold_out", ("", "fold=a=b")),
        (r"data.manifest=a.csv\,b.csv,c.csv", "data.manifest", ("a.csv,b.csv", "c.csv")),
        ("normalization=none,record", "normalization", ("none", "record")),
        ("objectives.alignment=0,0.5", "objectives.alignment", (0.0, 0.5)),
        ("objectives.classification=0,1", "objectives.classification", (0.0, 1.0)),
    ],
)
def test_values_have_the_type_of_their_field(config, text, field, values):
    found = grid.axes(config, [text])
    assert found == {field or text.partition("=")[0]: values}
    assert list(map(type, *found.values())) == list(map(type, values))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["model.layerz=1"], r"'model.layerz' in .* is no field .*choose from model.layers"),
        (["model=1"], "choose from .*model.width"),
        (["objectives.correct_par=1"], "choose from objectives.correct_pair"),
        (["zebra=1"], "see configs/defaults.py"),
        (["model.layers"], "'model.layers' is not an axis; write field=value,value"),
        (["model.layers=1,two"], "^model.layers=two: .*'two'"),
        (["train.steps=2.5"], "train.steps=2.5"),
        (["model.remat=perhaps"], "model.remat=perhaps"),
        (["model.layers=1", "model.layers=2"], "the axis model.layers is given twice"),
    ],
)
def test_a_wrong_axis_is_refused_in_one_line(config, texts, message):
    with pytest.raises(ValueError, match=message) as caught:
        grid.axes(config, texts)
    assert "\n" not in str(caught.value)


def test_one_axis_at_a_time_shares_the_base(config):
    axes = ["model.layers=1,2,3,4", "model.depths=(1,),(2,)", "objectives.alignment=0,1"]
    cells, _ = grid.plan(config, axes, ["seed=0"])
    assert len(cells) == 1 + 3 + 1 + 1
    assert cells[0] == {}
    assert {"model.layers": 2} not in cells
    assert all(len(cell) == 1 for cell in cells[1:])


def test_the_product_has_every_combination_and_the_base(config):
    axes = ["model.layers=1,2,3,4", "model.dropout=0,0.1", "objectives.alignment=0,1"]
    cells, _ = grid.plan(config, axes, ["seed=0"], product=True)
    assert len(cells) == 4 * 2 * 2
    base = {"model.layers": 2, "model.dropout": 0.0, "objectives.alignment": 1.0}
    found = {tuple((base | cell).values()) for cell in cells}
    assert found == set(itertools.product((1, 2, 3, 4), (0.0, 0.1), (0.0, 1.0)))
    assert cells[0] == {}
    without_base, _ = grid.plan(config, ["model.layers=1,3"], ["seed=0"], product=True)
    assert without_base == [{}, {"model.layers": 1}, {"model.layers": 3}]


def test_what_is_averaged_over_makes_replicates_and_no_cells(config):
    over = ["data.hold_out=fold=1,fold=2", "seed=0,1,2"]
    cells, replicates = grid.plan(config, [], over)
    assert cells == [{}]
    assert len(replicates) == 2 * 3
    assert {"data.hold_out": "fold=2", "seed": 1} in replicates
    with pytest.raises(ValueError, match="seed cannot make cells and be averaged over"):
        grid.plan(config, ["seed=1,2"], ["seed=0"])


def test_settings_change_a_copy_of_the_config(config):
    changed = grid.set_fields(
        config, {"model.layers": 5, "objectives.alignment": 0.0, "objectives.classification": 0.5}
    )
    assert changed.model.layers == 5
    assert weights(changed) == {"correct_pair": 1.0, "classification": 0.5}
    assert config.model.layers == 2
    assert weights(config) == {"correct_pair": 1.0, "alignment": 1.0}
    left_out = grid.set_fields(changed, {"objectives.alignment": 0.0})
    assert left_out.to_dict() == changed.to_dict()


def test_both_stages_agree_on_seed_model_and_data():
    pretrain, finetune = atbert_pretrain.get_config("tiny"), atbert_finetune.get_config("tiny")
    pretrain.data.manifest, pretrain.train.steps, finetune.model.dropout = "a.csv", 7, 0.3
    overrides = {"data.manifest": "a.csv", "train.steps": 7, "model.dropout": 0.2}
    both = grid.join(pretrain.lock(), finetune.lock(), overrides, {"model.dropout": 0.3})
    settings = {"seed": 3, "finetune.train.steps": 9, "finetune.objectives.alignment": 1.0}
    both = grid.set_fields(both, settings | {"model.layers": 4, "finetune.model.layers": 5})
    stages = grid.stages(both)
    assert list(stages) == ["pretrain", "finetune"]
    first, second = stages.values()
    assert first.keys() == pretrain.keys()
    assert (first.data.manifest, second.data.manifest) == ("a.csv", "a.csv")
    assert (first.seed, second.seed) == (3, 3)
    assert (first.train.steps, second.train.steps) == (7, 9)
    assert (first.model.dropout, second.model.dropout) == (0.2, 0.3)
    assert (first.model.layers, second.model.layers) == (4, 5)
    assert weights(second) == {"classification": 1.0, "alignment": 1.0}
    assert second.data.task == "single_label"


@pytest.mark.parametrize(
    ("settings", "label", "folder"),
    [
        ({}, "base", "base"),
        (
            {"seed": 1, "model.layers": 2},
            "model.layers=2 seed=1",
            "model.layers=2+seed=1",
        ),
        ({"model.depths": (1, 2)}, "model.depths=1,2", "model.depths=1,2"),
        ({"model.dropout": 0.0}, "model.dropout=0", "model.dropout=0"),
        ({"model.remat": True}, "model.remat=true", "model.remat=true"),
        ({"data.hold_out": "fold=1"}, "data.hold_out=fold=1", "data.hold_out=fold=1"),
    ],
)
def test_settings_have_a_readable_name(settings, label, folder):
    assert grid.label(settings) == label
    assert grid.folder(settings) == folder


def test_other_settings_have_another_folder():
    values = ["a/b", "a-b", "a b", "a+b", "../a", "x" * 300, "x" * 301, "발라드", "발라드?"]
    names = [grid.folder({"init_from": value}) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert "/" not in name
        assert len(name.encode()) < 255
    assert grid.folder({"a": "x+b=y"}) != grid.folder({"a": "x", "b": "y"})


def test_ranges_say_what_is_averaged_over():
    replicates = grid.combinations({"seed": (0, 1), "data.hold_out": ("fold=1", "fold=2")})
    assert grid.ranges(replicates) == "seed 0, 1 and data.hold_out fold=1, fold=2"
