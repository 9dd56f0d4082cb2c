"""Imports go one way: each package takes from those below it alone, and a name means one thing."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the bottom; packages of one layer may take from each other as long as there is no circle.
LAYERS = (
    {"atbert_jax.choices"},
    {"atbert_jax.input_pipeline"},
    {"atbert_jax.parallel", "atbert_jax.metrics", "atbert_jax.reporting"},
    {"atbert_jax.models"},
    {"atbert_jax.objectives"},
    {"atbert_jax.weights"},
    {"atbert_jax.training"},
    {"atbert_jax.configs"},
    {"atbert_jax.conversion", "atbert_jax.evaluation", "atbert_jax.library"},
    {"atbert_jax"},  # the verbs
)
RANKS = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
# What reads with tf.data, TFDS' own data sets, TensorFlow's own files, and TensorBoard's.
TENSORFLOW = (
    "atbert_jax.training.writers",
    "atbert_jax.input_pipeline.batching.",
    "atbert_jax.input_pipeline.corpora.tfds",
    "atbert_jax.weights.tensorflow_checkpoint",
    "atbert_jax.weights.tflite_file",
)


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# What stands in folders of its own is reached by links, as it is installed.
TREES = [ROOT / "atbert_jax", *(ROOT / "atbert_jax").glob("*/")]
FILES = {name_of(file): file for tree in TREES for file in sorted(tree.rglob("*.py"))}


def imports(module: str) -> set[str]:
    """What a file imports, at its top or within functions; modules by their whole names."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & FILES.keys()) or {node.module}
    return found


def package_of(module: str) -> str:
    """The layer's package that a module is in; the verbs are in `atbert_jax` itself."""
    top, _, rest = module.partition(".")
    inner = f"{top}.{rest.partition('.')[0]}"
    return inner if inner in RANKS else top


def room_of(module: str) -> str:
    """The folder that a module is in, or the module where it stands in none."""
    rest = module.removeprefix("atbert_jax.")
    inner = rest.removeprefix("input_pipeline.")
    return module.removesuffix(inner) + inner.partition(".")[0]


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.partition(".")[0] == "atbert_jax"}


@pytest.mark.parametrize("module", FILES)
def test_nothing_is_taken_from_above(module):
    rank = RANKS[package_of(module)]
    assert not {name for name in ours(module) if RANKS[package_of(name)] > rank}


@pytest.mark.parametrize("module", [m for m in FILES if "input_pipeline" in m])
def test_what_reads_takes_from_itself_alone(module):
    leaves = {"atbert_jax.choices", "atbert_jax.input_pipeline"}
    assert {package_of(name) for name in ours(module)} <= leaves


def test_no_packages_import_each_other_in_a_circle():
    graph = defaultdict(set)
    for module in FILES:
        graph[room_of(module)] |= {room_of(name) for name in ours(module)} - {room_of(module)}
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", FILES)
def test_tensorflow_is_where_batches_are_made(module):
    brings = {name.partition(".")[0] for name in imports(module)} & {"tensorflow"}
    assert not brings or module.startswith(TENSORFLOW)


def test_a_name_of_a_module_stands_once():
    """What helps the tests and the documentation has no name of the package's either."""
    beside = [file for folder in ("docs", "tests") for file in (ROOT / folder).glob("*.py")]
    places = defaultdict(list)
    for file in [*FILES.values(), *beside]:
        if file.stem not in ("__init__", "__main__") and "configs" not in file.parts:
            places[file.stem].append(file)
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_the_room_that_reads_shows_a_dozen_names():
    names = {file.stem for file in (ROOT / "input_pipeline").iterdir()}
    assert len(names - {"__init__", "__pycache__"}) <= 12
