"""What a run would cost: parameters, shardings, and the compiled step; nothing is trained."""

import math
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.parallel import sharding, topology
from atbert_jax.parallel.hlo import Program
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import checkpoint, optimizer, run_folder
from atbert_jax.training.room import peak
from atbert_jax.training.state import define, lay_out
from atbert_jax.training.step import make_train_step
from atbert_jax.weights import engine

LARGE = 4 * 2**20  # copies below this are of no account


def describe(
    config: ml_collections.ConfigDict, workdir: Path, console: Console, chips: str | None = None
) -> None:
    """Prints each parameter with its sharding, and the step's memory, FLOPs and communication.

    Args:
        config: See `configs/defaults.py`; the manifest says how many labels there are.
        workdir: A run's folder, whose contract is used if there is one.
        console: Where to print.
        chips: A topology to compile for, `v5e:4x4` or `h100x8`; None is this machine.

    Raises:
        ValueError: if the config, the manifest, the sharding or the topology is not as it should
            be.
    """
    mesh = sharding.make_mesh(config.sharding, topology.devices(chips) if chips else None)
    sharding.require_divisible(
        config.train.batch_size, mesh, "config.train.batch_size", config.train.accumulate
    )
    contract = _contract(config, workdir)
    print_table(_parameters(config, contract, mesh), console)
    print_step(config, contract, mesh, chips, console)


def print_step(
    config: ml_collections.ConfigDict,
    contract: Contract,
    mesh: Mesh,
    chips: str | None,
    console: Console,
) -> None:
    """Prints what `figures` tells; the arguments are its own."""
    console.print(
        f"{config.model.name} on {mesh.size} x {mesh.devices.flat[0].device_kind}, data"
        f" {mesh.shape['data']}, model {mesh.shape['model']}, fsdp {config.sharding.fsdp};"
        f" batch {config.train.batch_size}"
    )
    found = figures(config, contract, mesh, chips)
    print_table(_cost(found), console)
    print_table(_traffic(found["collectives"]), console)


def _contract(config: ml_collections.ConfigDict, workdir: Path) -> Contract:
    known = workdir if (workdir / checkpoint.CONFIG).exists() else Path(config.init_from or "")
    contract = tokenizer = None
    if (known / checkpoint.CONFIG).exists():
        contract, tokenizer = run_folder.load_preprocessing(known)
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


def lower_step(
    config: ml_collections.ConfigDict, contract: Contract, mesh: Mesh, chips: str | None = None
) -> jax.stages.Lowered:
    """The training step before XLA optimizes it; allocates nothing.

    Args:
        config: The whole config.
        contract: What batches look like.
        mesh: Devices, those of the topology if there is one.
        chips: Name of the topology; None is this machine.
    """
    updates = optimizer.build(config.optimizer, config.train.steps)
    layout = lay_out(config, contract, updates, mesh)
    step = make_train_step(config, define(config, contract)[0], updates, mesh, layout)
    batch = abstract_batch(contract, config.data.input, config.train.batch_size)
    return topology.lower(step.func, chips, *step.args, layout.shapes, batch)


def compile_step(
    config: ml_collections.ConfigDict, contract: Contract, mesh: Mesh, chips: str | None = None
) -> tuple[jax.stages.Compiled, float]:
    """The compiled step, and the FLOPs of the whole batch before XLA optimizes them.

    The arguments are those of `lower_step`.
    """
    counted = lowered = lower_step(config, contract, mesh, chips)
    if chips:  # whose compilers do not count
        here = sharding.make_mesh(devices=jax.devices("cpu")[:1])
        counted = lower_step(config, contract, here)
    flops = (counted.cost_analysis() or {}).get("flops", float("nan"))
    return lowered.compile(), float(flops)


def figures(
    config: ml_collections.ConfigDict, contract: Contract, mesh: Mesh, chips: str | None = None
) -> dict[str, Any]:
    """What the compiled step needs and does, as numbers to compare; see `compile_step`.

    Of each device, except for `flops`, which are of the whole batch. What depends on the chip is
    told of a topology alone.
    """
    compiled, flops = compile_step(config, contract, mesh, chips)
    program, memory = Program(compiled.as_text()), compiled.memory_analysis()
    layout = lay_out(config, contract, optimizer.build(config.optimizer, config.train.steps), mesh)
    used = zip(jax.tree.leaves(layout.shapes.params), jax.tree.leaves(layout.whole), strict=True)
    sizes = {math.prod(where.shard_shape(x.shape)) for x, where in used}
    copies = [array.bytes for array in program.copies() if array.bytes >= LARGE]
    found = {
        "devices": mesh.size,
        "batch": config.train.batch_size,
        "flops": flops,
        "bytes": program.bytes_moved(),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "peak_bytes": peak(memory),
        "state_arrays": len(jax.tree.leaves(layout.state)),
        "donated_arrays": program.donated(),
        "float32_convolutions": len(program.float32_convolutions()),
        "gathered_activation_bytes": sum(
            array.bytes for array in program.gathered() if array.size not in sizes
        ),
        "rounded_sum_bytes": sum(array.bytes for array in program.rounded_sums()),
        "large_copies": len(copies),
        "large_copy_bytes": sum(copies),
        "collectives": {
            kind: {"count": count, "bytes": sent}
            for kind, (count, sent) in program.traffic(mesh.size).items()
        },
    }
    if chips:
        chip = topology.chip(chips)
        found |= {
            "estimated_cycles": program.estimated_cycles() or None,
            "memory_bytes": chip.memory,
            "fits": found["peak_bytes"] <= chip.memory,
            "seconds_computing": flops / mesh.size / chip.flops,
            "seconds_of_memory": found["bytes"] / chip.bandwidth,
        }
    return found


def _parameters(config: ml_collections.ConfigDict, contract: Contract, mesh: Mesh) -> Table:
    updates = optimizer.build(config.optimizer, config.train.steps)
    layout = lay_out(config, contract, updates, mesh)
    where, trained = engine.flat(layout.state.params), engine.flat(layout.state.trained)
    rows, totals = [], {True: (0, 0), False: (0, 0)}
    for name, shape in engine.flat(layout.shapes.params).items():
        size = 4 * math.prod(where[name].shard_shape(shape.shape))
        is_trained, split = name in trained, str(tuple(where[name].spec))
        rows.append([name, str(shape.shape), is_trained, split, f"{size:,}"])
        count, here = totals[is_trained]
        totals[is_trained] = count + shape.size, here + size
    for is_trained, (count, here) in totals.items():
        what = f"all {count:,} parameters that are {'trained' if is_trained else 'frozen'}"
        rows.append([what, "", is_trained, "", f"{here:,}"])
    columns = ["parameter", "shape", "trained", "split over", "bytes per device"]
    note = "Adam keeps twice as much beside those that are trained."
    return Table("Parameters", columns, rows, note)


def _cost(found: dict[str, Any]) -> Table:
    mib = 2**20
    rows = [
        ["GFLOPs per step, all devices", f"{found['flops'] / 1e9:,.1f}"],
        ["GFLOPs per example", f"{found['flops'] / found['batch'] / 1e9:,.2f}"],
        ["MiB per device, state and batch", f"{found['argument_bytes'] / mib:,.1f}"],
        ["MiB per device, intermediate values", f"{found['temporary_bytes'] / mib:,.1f}"],
        ["MiB per device, all", f"{found['peak_bytes'] / mib:,.1f}"],
        ["MiB read and written by each device", f"{found['bytes'] / mib:,.1f}"],
        [
            "arrays of the state that are updated in place",
            f"{found['donated_arrays']} of {found['state_arrays']}",
        ],
        ["convolutions in float32", str(found["float32_convolutions"])],
        ["MiB gathered, not of parameters", f"{found['gathered_activation_bytes'] / mib:,.2f}"],
        ["MiB added up in bfloat16", f"{found['rounded_sum_bytes'] / mib:,.2f}"],
        ["MiB copied in large copies", f"{found['large_copy_bytes'] / mib:,.1f}"],
    ]
    if "fits" in found:
        fits = "yes" if found["fits"] else "no"
        cycles = found["estimated_cycles"]
        rows += [
            [f"fits into {found['memory_bytes'] / 1e9:g} GB", fits],
            ["ms at least, by computing", f"{1e3 * found['seconds_computing']:,.3f}"],
            ["ms, by what is read and written", f"{1e3 * found['seconds_of_memory']:,.3f}"],
            ["cycles as XLA estimates", f"{cycles:,}" if cycles else "not told"],
        ]
    return Table("One step", ["what", "value"], rows, "Of the compiled program.")


def _traffic(collectives: dict[str, dict[str, float]]) -> Table:
    rows = [
        [kind, str(sent["count"]), f"{sent['bytes'] / 2**20:,.3f}"]
        for kind, sent in collectives.items()
    ]
    count, sent = (sum(x[key] for x in collectives.values()) for key in ("count", "bytes"))
    rows.append(["all", str(count), f"{sent / 2**20:,.3f}"])
    columns = ["collective", "in the program", "MiB sent by each device and step"]
    return Table("Between devices", columns, rows, "As a ring would send them.")
