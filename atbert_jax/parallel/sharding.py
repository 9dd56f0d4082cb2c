"""Where arrays live: one mesh with the axes `data` and `model`, and one table of rules.

* Batches are split over `data`, always.
* Parameters whose axes have a rule are split over `model` (tensor-parallel: the heads of attention,
  the inner width of the feed-forward block). Layers name the axes of their parameters with `axes`.
* With `fsdp` every parameter is split over `data` too, along its largest axis that is still whole,
  and so is the optimizer's state; the step gathers each parameter where it is used.
* Running statistics are on every device.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx, traverse_util
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

DATA, MODEL = "data", "model"
# What is not here stays whole.
RULES = {"heads": MODEL, "mlp": MODEL}


def axes(*names: str | None) -> dict[str, tuple[str | None, ...]]:
    """Metadata of a parameter: the name of each of its axes, for `RULES`; None has no rule."""
    return {"logical_axes": names}


def repeated(*names: str | None) -> dict[str, object]:
    """As `axes`, of a parameter that is used again and again in a step (see `copies`)."""
    return axes(*names) | {"repeated": True}


# The defaults of `config.sharding`.
DEFAULTS = {
    "data": -1,  # devices that a batch is split over; -1: all that `model` leaves
    "model": 1,  # devices that attention heads and feed-forward widths are split over
    "fsdp": False,  # parameters and optimizer state split over `data` too
}


def make_mesh(
    config: ml_collections.ConfigDict | None = None, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The devices of all processes.

    Args:
        config: `config.sharding`: data and model, the sizes of the two axes; -1 takes what the
            other one leaves. None is data-parallel.
        devices: Others than those, as of a topology (see `topology`).

    Raises:
        ValueError: if the sizes do not multiply to the number of devices.
    """
    devices = devices or jax.devices()
    sizes = [config.data, config.model] if config else [-1, 1]
    known = int(np.prod([size for size in sizes if size > 0]))
    if sizes.count(-1) == 1 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if min(sizes) < 1 or int(np.prod(sizes)) != len(devices):
        raise ValueError(
            f"config.sharding.data={sizes[0]} x model={sizes[1]} is not the number of devices,"
            f" {len(devices)}; set one of them to -1 and the other to a divisor of {len(devices)}"
        )
    # `jax.make_mesh` refuses a `model` of 2 on a torus of 4 x 4 x 4.
    ordered = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(ordered, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def serving_mesh(config: ml_collections.ConfigDict) -> Mesh:
    """The mesh to answer on, wherever the model was trained.

    Args:
        config: `config.sharding` of the training; its `model` is kept where the devices allow it.
    """
    count = len(jax.devices())
    model = config.model if config.model > 0 and count % config.model == 0 else 1
    return make_mesh(ml_collections.ConfigDict({"data": -1, "model": model}))


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device, whole."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis split over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def of_parameters(params: nnx.State, mesh: Mesh, *, fsdp: bool) -> dict:
    """Where each parameter lives.

    Args:
        params: Variables of arrays or of shapes; see `axes` for their metadata.
        mesh: Devices.
        fsdp: Split over `data` too.

    Returns:
        Shardings, nested dicts by module name.

    Raises:
        ValueError: if an axis with a rule cannot be split evenly; the message names it.
    """
    flat = {}
    for path, variable in nnx.to_flat_state(params):
        names = variable.get_metadata().get("logical_axes", ())
        flat[path] = _of_parameter("/".join(map(str, path)), variable.shape, names, mesh, fsdp)
    return traverse_util.unflatten_dict(flat)


def copies(params: nnx.State, mesh: Mesh) -> dict:
    """Where copies of `repeated` parameters live, one for each part of the batch.

    XLA sums a gradient over devices wherever a parameter is used. With a copy for each part of the
    batch, the gradients of all uses add up on each device first, and travel once.

    Returns:
        Shardings of (data, ...) by path; of none where `data` is one device.
    """
    found = {}
    for path, variable in nnx.to_flat_state(params):
        metadata = variable.get_metadata()
        if metadata.get("repeated") and mesh.shape[DATA] > 1:
            spec = [RULES.get(axis) for axis in metadata["logical_axes"]]
            found[path] = NamedSharding(mesh, PartitionSpec(DATA, *spec))
    return found


def with_copies(params: dict, where: Mapping[tuple, NamedSharding]) -> dict:
    """Parameters, nested dicts, of which those in `where` (see `copies`) get their copies."""
    flat = traverse_util.flatten_dict(params)
    for path, sharding in where.items():
        shape = (sharding.mesh.shape[DATA], *flat[path].shape)
        copied = jnp.broadcast_to(flat[path], shape)
        flat[path] = jax.lax.with_sharding_constraint(copied, sharding)
    return traverse_util.unflatten_dict(flat)


def gathered(
    params: dict, split: dict, whole: dict, copied: Mapping[tuple, Sharding], dtype: jnp.dtype
) -> dict:
    """Parameters that are split over `data`, each where all of it is used.

    Kernels and tables travel in the type that the model computes in, which rounds them as the model
    does; their own type comes back, as that of their gradients. Vectors, which the model keeps in
    float32, and `repeated` parameters, which have `copies`, stay as they are.

    Args:
        params: Nested dicts.
        split: Their shardings.
        whole: Shardings without what is split over `data`.
        copied: Those that get `copies`, by path.
        dtype: The compute type.
    """
    here, there = traverse_util.flatten_dict(split), traverse_util.flatten_dict(whole)
    found = traverse_util.flatten_dict(params)
    for path, x in found.items():
        travels = x.ndim > 1 and here[path] != there[path] and path not in copied
        sent = x.astype(dtype) if travels else x
        found[path] = jax.lax.with_sharding_constraint(sent, there[path]).astype(x.dtype)
    return traverse_util.unflatten_dict(found)


def _of_parameter(
    name: str, shape: Sequence[int], names: Sequence[str | None], mesh: Mesh, fsdp: bool
) -> NamedSharding:
    spec = [RULES.get(axis) for axis in names] or [None] * len(shape)
    for size, axis, over in zip(shape, names, spec, strict=False):
        if over and size % mesh.shape[over]:
            raise ValueError(
                f"{name} {tuple(shape)}: its axis {axis!r} of {size} cannot be split over"
                f" config.sharding.{over}={mesh.shape[over]}; use a divisor of {size}"
            )
    if fsdp:
        whole = [i for i, over in enumerate(spec) if not over and not shape[i] % mesh.shape[DATA]]
        if whole:
            spec[max(whole, key=lambda i: shape[i])] = DATA
    return NamedSharding(mesh, PartitionSpec(*spec))


def require_divisible(batch_size: int, mesh: Mesh, field: str, parts: int = 1) -> None:
    """Checks that a batch can be split over the devices.

    Args:
        batch_size: B.
        mesh: The devices.
        field: The config field to name in the message.
        parts: Micro-batches that the batch is computed in.

    Raises:
        ValueError: if it cannot be split evenly.
    """
    devices = mesh.shape[DATA]
    if batch_size % (devices * parts):
        raise ValueError(
            f"{field}={batch_size} is no multiple of {devices} devices x {parts} micro-batches;"
            f" use a multiple of {devices * parts}"
        )


def require_heads(heads: int, mesh: Mesh) -> None:
    """Checks that every device gets whole attention heads.

    Raises:
        ValueError: if it cannot.
    """
    if heads % mesh.shape[MODEL]:
        raise ValueError(
            f"config.model.heads={heads} cannot be split over config.sharding.model="
            f"{mesh.shape[MODEL]} devices; use a divisor of {heads}"
        )


def rows_of_processes(processes: np.ndarray, batch_size: int) -> dict[int, np.ndarray]:
    """Which rows of a batch each process holds, in ascending order.

    They need not follow each other: devices of a torus stand in a mesh in the order of their
    neighbourhood, not of their hosts. Processes whose devices hold the same rows, as along `model`,
    read the same.

    Args:
        processes: The process of each device of the mesh, (data, model).
        batch_size: B, a multiple of `data`.
    """
    parts = np.arange(batch_size).reshape(len(processes), -1)
    return {
        int(process): parts[(processes == process).any(axis=1)].ravel()
        for process in np.unique(processes)
    }


def rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of every batch of `batch_size` that this process holds, and so has to read."""
    processes = np.vectorize(lambda device: device.process_index)(mesh.devices)
    return rows_of_processes(processes, batch_size)[jax.process_index()]


def require_all_rows(mesh: Mesh, batch_size: int) -> None:
    """Checks, before the first batch, that the processes together read each row of it.

    Every process says which rows it reads, and every one looks at what all said.

    Raises:
        ValueError: if a row is read by none, or by processes that do not read the same rows.
    """
    found = rows(mesh, batch_size)
    mine = np.full(batch_size, -1)
    mine[: len(found)] = found
    everyone = multihost_utils.process_allgather(mine).reshape(-1, batch_size)
    require_each_once([tuple(part[part >= 0]) for part in everyone], batch_size)


def require_each_once(parts: Sequence[tuple[int, ...]], batch_size: int) -> None:
    """Checks what processes read of a batch.

    Args:
        parts: The rows that each process reads; equal parts count as one.
        batch_size: B.

    Raises:
        ValueError: if a row is in none of them, or in two that differ.
    """
    times = np.bincount(np.concatenate(list(set(parts))).astype(int), minlength=batch_size)
    if (times != 1).any():
        who = "; ".join(f"process {n} reads {list(map(int, p))}" for n, p in enumerate(parts))
        raise ValueError(
            f"of a batch of {batch_size} rows, {np.flatnonzero(times == 0).tolist()} are read by no"
            f" process and {np.flatnonzero(times > 1).tolist()} by several ({who}): the processes"
            " see the devices in different orders; start all of them with the same command, the"
            " same versions and the same config.sharding"
        )


def put(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch on its devices, as part of the global batch, split along B.

    Args:
        batch: Arrays (R, ...) of the R rows that `rows` names, in that order.
        mesh: The devices.
    """
    placement, held = over_batch(mesh), rows(mesh, mesh.shape[DATA])
    size = len(next(iter(batch.values()))) // len(held) * mesh.shape[DATA]
    here = rows(mesh, size)

    def whole(part: np.ndarray) -> jax.Array:
        def shard(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(size)
            place = np.searchsorted(here, start)
            return part[place : place + stop - start]

        return jax.make_array_from_callback((size, *part.shape[1:]), placement, shard)

    return {name: whole(part) for name, part in batch.items()}


def placed(shapes: dict, placement: Sharding | dict) -> dict:
    """Shapes of arrays as targets that are restored onto the devices.

    Args:
        shapes: Nested dicts.
        placement: Of all, or of each in the same nested dicts.
    """
    if isinstance(placement, Sharding):
        placement = jax.tree.map(lambda _: placement, shapes)
    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, placement
    )
