"""Chips that are not here: programs are compiled for them, not run.

XLA's compilers come with the wheels of the accelerators, `pip install -e '.[aot]'`.
"""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

# What XLA asks of a card, as NVIDIA publishes it for the H100 SXM5.
H100 = """
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # there is no such machine to ask
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # there is no driver whose version could be wrong
}


class Chip(NamedTuple):
    """What a chip is published with.

    Attributes:
        platform: Whose programs it runs.
        memory: Bytes.
        flops: In a second, dense products in bfloat16.
        bandwidth: Bytes of its memory in a second.
    """

    platform: str
    memory: float
    flops: float
    bandwidth: float


CHIPS = {
    "v4": Chip("tpu", 32e9, 275e12, 1.2e12),
    "v5e": Chip("tpu", 16e9, 197e12, 0.82e12),
    "v5p": Chip("tpu", 95e9, 459e12, 2.765e12),
    "v6e": Chip("tpu", 32e9, 918e12, 1.64e12),
    "h100": Chip("cuda", 80e9, 989e12, 3.35e12),
}


def chip(name: str) -> Chip:
    """The chip of a topology: `v5e:4x4`, `v4:2x2x2`, `h100`, `h100x8`.

    Raises:
        ValueError: if it is not known; the message lists those that are.
    """
    return CHIPS[_parts(name)[0]]


def _parts(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"(h100)(?:x([1-9]\d*))?|(v\d\w?):(\d+(?:x\d+)+)", name)
    kind = found and (found[1] or found[3])
    if kind not in CHIPS:
        raise ValueError(
            f"no topology {name!r}; use h100, h100x8, or a TPU with its shape as v5e:4x4,"
            f" of {', '.join(CHIPS)}"
        )
    return kind, found[4] or found[2] or "1"


def devices(name: str) -> list[jax.Device]:
    """The devices of a topology, to lower and compile for; they hold no arrays.

    Computations beside are the CPU's from here on.

    Raises:
        ValueError: if there is no such topology, or no compiler for it is installed.
    """
    kind, shape = _parts(name)
    os.environ.update(ENVIRONMENT)
    jax.config.update("jax_platforms", "cpu")
    given = {"topology_name": name}
    if CHIPS[kind].platform == "cuda":
        given = {"topology_name": kind, "topology": f"1x1x{shape}", "target_config": H100}
    try:
        return topologies.get_topology_desc(platform=CHIPS[kind].platform, **given).devices
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"cannot compile for {name}: {str(error).splitlines()[0]}; the compilers come with"
            " pip install 'atbert-jax[aot]'"
        ) from error


def lower(function: Callable, name: str | None, *given: Any) -> jax.stages.Lowered:
    """A jitted function, lowered for a topology, or for this machine if there is none."""
    platforms = (chip(name).platform,) if name else None
    return function.trace(*given).lower(lowering_platforms=platforms)
