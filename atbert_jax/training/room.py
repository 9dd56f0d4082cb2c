"""Whether a run fits into the memory that there is, asked before its first step.

The system ends what does not fit without a word, often hours later.
"""

import logging
import os
from pathlib import Path
from typing import Any

import jax
import ml_collections


def peak(memory: Any) -> int:
    """Bytes that a compiled program needs on each device.

    Arguments, results that do not overwrite them, intermediate values and the program.

    Args:
        memory: From `memory_analysis()` of the program.
    """
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held = memory.argument_size_in_bytes + results + memory.generated_code_size_in_bytes
    return held + memory.temp_size_in_bytes


def require(config: ml_collections.ConfigDict, step: jax.stages.Compiled, clips: int) -> None:
    """Refuses a step that cannot fit, and warns of a run that may not.

    Args:
        config: The whole config.
        step: The compiled training step.
        clips: Bytes of the clips that will be remembered.

    Raises:
        ValueError: naming the numbers, and the fields to change.
    """
    wanted = peak(step.memory_analysis())
    limit = free = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    where = "each device"
    if not limit:  # the devices are the machine's own cores
        limit, free, where = of_machine()
        wanted *= jax.local_device_count()
    else:
        clips = 0
    sizes, train = f"{wanted / 1e9:.2f} GB for a training step", config.train
    if clips:
        sizes += f" and {clips / 1e9:.2f} GB for remembered clips"
    message = (
        f"this run needs {sizes}, and {where} has {limit / 1e9:.2f} GB, {free / 1e9:.2f} of them"
        f" free: lower config.train.batch_size={train.batch_size} (or raise"
        f" config.train.accumulate={train.accumulate}, whose parts pair their own clips alone),"
        f" config.segmenting.segments={config.segmenting.segments} or"
        f" config.data.memory_mb={config.data.memory_mb}, or set config.model.remat=True"
    )
    if wanted > limit:
        raise ValueError(message)
    if wanted + clips > free:
        logging.getLogger(__name__).warning("%s", message)


def of_machine() -> tuple[int, int, str]:
    """Bytes of memory that this process may have and that are free, and what says so.

    A control group's limit counts, as a container or a scheduler sets it.
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free, where = _numbers(Path("/proc/meminfo")).get("MemAvailable", limit), "this machine"
    used = _numbers(Path("/proc/self/status")).get("VmRSS", 0)
    for file in _control_groups():
        found = file.read_text().strip() if file.exists() else ""
        if found.isdecimal() and int(found) < limit:
            limit, where = int(found), f"the control group of this process ({file})"
    return limit, min(free, max(limit - used, 0)), where


def _control_groups() -> list[Path]:
    """The files that would limit this process, of its control group and all above it."""
    groups, found = Path("/proc/self/cgroup"), []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = Path("/sys/fs/cgroup"), "memory.max"
        if controllers:
            root, name = root / "memory", "memory.limit_in_bytes"
        place = root / group.lstrip("/")
        found += [each / name for each in (place, *place.parents) if each.is_relative_to(root)]
    return found


def _numbers(file: Path) -> dict[str, int]:
    """Bytes by name, of a table of the kernel's."""
    lines = file.read_text().splitlines() if file.exists() else ()
    words = (line.replace(":", " ").split() for line in lines)
    return {line[0]: int(line[1]) * 1024 for line in words if line[2:] == ["kB"]}
