"""Flags of XLA that are no defaults but should be, where JAX will run on NVIDIA GPUs."""

import os
import pkgutil
from importlib.metadata import version
from importlib.util import find_spec


def set_xla_flags() -> None:
    """Adds `chosen` to XLA_FLAGS; call it before JAX runs anything, for XLA reads them once."""
    given = os.environ.get("XLA_FLAGS", "")
    flags = chosen(given, version("jaxlib")) if will_use_cuda() else ()
    if flags:
        os.environ["XLA_FLAGS"] = " ".join((*given.split(), *flags))


def chosen(given: str, jaxlib: str) -> tuple[str, ...]:
    """The flags for NVIDIA GPUs beside those that a person has set.

    Args:
        given: Value of XLA_FLAGS. A flag that it names is left alone; where it names a file of
            flags, all are.
        jaxlib: Version of jaxlib; a flag that it does not know would end the process.

    Returns:
        Flags as XLA_FLAGS takes them.
    """
    if given.strip() and not given.strip().startswith("-"):
        return ()
    # Collectives are asynchronous by default, but only this moves computing into their time.
    flags = {"xla_gpu_enable_latency_hiding_scheduler": "true"}
    if tuple(int(part) for part in jaxlib.split(".")[:2]) < (0, 12):
        # Triton's fusions of strided products end the process there ("Check failed:
        # subdim_size_accumulator == dim_size"); without them cuBLAS multiplies.
        flags["xla_gpu_enable_triton_gemm"] = "false"
    named = {flag.lstrip("-").partition("=")[0] for flag in given.split()}
    return tuple(f"--{name}={value}" for name, value in flags.items() if name not in named)


def will_use_cuda() -> bool:
    """Whether JAX has a plugin for NVIDIA GPUs and is not told to run elsewhere; asks no device."""
    platforms = os.environ.get("JAX_PLATFORMS", "").split(",")
    # JAX itself looks for plugins in this namespace.
    plugins = find_spec("jax_plugins")
    folders = plugins.submodule_search_locations if plugins else ()
    return not {"", "cuda", "gpu"}.isdisjoint(platforms) and any(
        plugin.name.startswith("xla_cuda") for plugin in pkgutil.iter_modules(folders)
    )
