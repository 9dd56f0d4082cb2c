"""What a run would cost: parameters, shardings, and the compiled step; nothing is trained."""

import math
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax.evaluation.tables import Table, print_table
from atbert_jax.training import checkpoint, freezing, optimizer, sharding
from atbert_jax.training.state import define, fresh, lay_out
from atbert_jax.training.step import make_train_step
from input_pipeline import dataset
from input_pipeline.contract import Contract
from input_pipeline.frames import make_reader

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
COLLECTIVE = re.compile(
    r" = (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute)(-start)?\("
)
GROUPS = re.compile(r"replica_groups=(mesh\[.*?\] \{.*?\}|\S+)")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def describe(config: ml_collections.ConfigDict, workdir: Path, console: Console) -> None:
    """Prints each parameter with its sharding, and the step's memory, FLOPs and communication.

    Args:
        config: See `configs/defaults.py`; the manifest says how many labels there are.
        workdir: A run's folder, whose contract is used if there is one.
        console: Where to print.

    Raises:
        ValueError: if the config, the manifest or the sharding is not as it should be.
    """
    mesh = sharding.make_mesh(config.sharding)
    sharding.require_divisible(
        config.train.batch_size, mesh, "config.train.batch_size", config.train.accumulate
    )
    contract = _contract(config, workdir)
    console.print(
        f"{config.model.name} on {mesh.size} x {jax.devices()[0].device_kind}, data"
        f" {mesh.shape['data']}, model {mesh.shape['model']}, fsdp {config.sharding.fsdp};"
        f" batch {config.train.batch_size}"
    )
    print_table(_parameters(config, contract, mesh), console)
    compiled, flops = compile_step(config, contract, mesh)
    print_table(_cost(compiled, flops, config.train.batch_size), console)
    print_table(_traffic(compiled.as_text(), mesh.size), console)


def _contract(config: ml_collections.ConfigDict, workdir: Path) -> Contract:
    known = workdir if (workdir / checkpoint.CONFIG).exists() else Path(config.init_from or "")
    contract = tokenizer = None
    if (known / checkpoint.CONFIG).exists():
        contract, tokenizer = checkpoint.load_preprocessing(known)
    with tempfile.TemporaryDirectory() as folder:
        return dataset.load(config, Path(folder), contract=contract, tokenizer=tokenizer).contract


def abstract_batch(contract: Contract, carried: str, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of `size` rows that carry `config.data.input`."""
    reader = make_reader(contract)
    sound, real = reader.shapes
    if carried == "log_mel":
        spectrogram = contract.spectrogram
        sound = (sound[0], spectrogram.n_mels, spectrogram.frame_count(sound[1]))
    floats = {carried: sound, "token_mask": (contract.max_tokens,), "valid": ()}
    integers = {"token_ids": (contract.max_tokens,), "record": ()}
    for name, part in reader.masks(np.zeros(real, np.int32)).items():
        (integers if part.dtype == np.int32 else floats)[name] = part.shape
    for labels in contract.all_labels:
        floats |= dict(zip(labels.fields, ((len(labels.names),), ()), strict=True))
    return {
        name: jax.ShapeDtypeStruct((size, *shape), dtype)
        for shapes, dtype in ((floats, jnp.float32), (integers, jnp.int32))
        for name, shape in shapes.items()
    }


def compile_step(
    config: ml_collections.ConfigDict, contract: Contract, mesh: jax.sharding.Mesh
) -> tuple[jax.stages.Compiled, float]:
    """The compiled training step, and the FLOPs of the whole batch before XLA optimizes them.

    Allocates nothing.
    """
    updates = optimizer.build(config.optimizer, config.train.steps)
    layout = lay_out(config, contract, updates, mesh)
    definition, params, statistics = define(config, contract)
    frozen = config.optimizer.frozen
    state = jax.eval_shape(lambda p, s: fresh(p, s, updates, frozen), params, statistics)
    step = make_train_step(config, definition, updates, mesh, layout)
    lowered = step.func.lower(
        *step.args, state, abstract_batch(contract, config.data.input, config.train.batch_size)
    )
    return lowered.compile(), float((lowered.cost_analysis() or {}).get("flops", float("nan")))


def _parameters(
    config: ml_collections.ConfigDict, contract: Contract, mesh: jax.sharding.Mesh
) -> Table:
    updates = optimizer.build(config.optimizer, config.train.steps)
    where = lay_out(config, contract, updates, mesh).state.params
    params = define(config, contract)[1]
    shapes, trained = _named(params), _named(freezing.partition(params, config.optimizer.frozen)[0])
    rows, totals = [], {True: (0, 0), False: (0, 0)}
    for (name, shape), placement in zip(shapes.items(), jax.tree.leaves(where), strict=True):
        size = 4 * math.prod(placement.shard_shape(shape.shape))
        is_trained, split = name in trained, str(tuple(placement.spec))
        rows.append([name, str(shape.shape), is_trained, split, f"{size:,}"])
        count, here = totals[is_trained]
        totals[is_trained] = count + shape.size, here + size
    for is_trained, (count, here) in totals.items():
        what = f"all {count:,} parameters that are {'trained' if is_trained else 'frozen'}"
        rows.append([what, "", is_trained, "", f"{here:,}"])
    columns = ["parameter", "shape", "trained", "split over", "bytes per device"]
    note = "Adam keeps twice as much beside those that are trained."
    return Table("Parameters", columns, rows, note)


def _named(params: dict) -> dict[str, jax.ShapeDtypeStruct]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _cost(compiled: jax.stages.Compiled, flops: float, batch_size: int) -> Table:
    memory = compiled.memory_analysis()
    rows = [
        ["GFLOPs per step, all devices", f"{flops / 1e9:,.1f}"],
        ["GFLOPs per example", f"{flops / batch_size / 1e9:,.2f}"],
        ["MiB per device, state and batch", f"{memory.argument_size_in_bytes / 2**20:,.1f}"],
        ["MiB per device, intermediate values", f"{memory.temp_size_in_bytes / 2**20:,.1f}"],
    ]
    return Table("One step", ["what", "value"], rows, "Of the compiled program.")


def traffic(program: str, devices: int) -> dict[str, tuple[int, float]]:
    """What a compiled program moves between devices.

    Args:
        program: Text of the optimized HLO.
        devices: How many it runs on.

    Returns:
        By kind of collective: how many there are, and the bytes that each device sends in them if
        they go round a ring of their group of n: an all-reduce of b bytes sends 2 b (n - 1) / n, an
        all-gather to b bytes b (n - 1) / n, a reduce-scatter to b bytes b (n - 1).
    """
    found: dict[str, tuple[int, float]] = {}
    for line in program.splitlines():
        match = COLLECTIVE.search(line)
        if not match:
            continue
        kind, groups = match["kind"], GROUPS.search(line)
        group = _group_size(groups[1], devices) if groups else devices
        size = sum(
            BYTES.get(dtype, 4) * math.prod(int(n) for n in shape.split(",") if n)
            for dtype, shape in ARRAY.findall(match["result"])
        )
        part = {"all-reduce": 2 * (group - 1) / group, "reduce-scatter": group - 1}
        sent = size * part.get(kind, (group - 1) / group)
        count, total = found.get(kind, (0, 0.0))
        found[kind] = (count + 1, total + sent)
    return found


def _group_size(groups: str, devices: int) -> int:
    """Of `{{0,1},{2,3}}`, `[2,4]<=[8]`, `mesh['a'=2,'b'=4] {'b'}`, or of nothing, which is all."""
    if groups.startswith("mesh"):
        mesh, _, axes = groups.partition("] ")
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh)}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", axes))
    if found := re.match(r"\[\d+,(\d+)\]", groups):
        return int(found[1])
    if found := re.match(r"\{\{([\d,]+)\}", groups):
        return len(found[1].split(","))
    return devices


def _traffic(program: str, devices: int) -> Table:
    found = traffic(program, devices)
    rows = [[kind, str(count), f"{sent / 2**20:,.3f}"] for kind, (count, sent) in found.items()]
    rows.append(["all", str(sum(count for count, _ in found.values())), ""])
    rows[-1][2] = f"{sum(sent for _, sent in found.values()) / 2**20:,.3f}"
    columns = ["collective", "in the program", "MiB sent by each device and step"]
    return Table("Between devices", columns, rows, "As a ring would send them.")
