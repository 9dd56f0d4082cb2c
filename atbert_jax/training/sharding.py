"""Where arrays live: one mesh, batches split over `data`, parameters on every device."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding


def make_mesh() -> Mesh:
    """All local devices on the axis `data`; `model` is there, with size 1."""
    devices = jax.local_devices()
    return jax.make_mesh(
        (len(devices), 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device, whole."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis split over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


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
    devices = mesh.shape["data"]
    if batch_size % (devices * parts):
        raise ValueError(
            f"{field}={batch_size} is no multiple of {devices} devices x {parts} micro-batches;"
            f" use a multiple of {devices * parts}"
        )


def put(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """A host's batch on the devices, split along B."""
    return jax.device_put(dict(batch), over_batch(mesh))


def placed(shapes: dict, placement: Sharding) -> dict:
    """Shapes of arrays as targets that are restored onto the devices."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), shapes
    )
