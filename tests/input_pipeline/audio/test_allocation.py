"""Memory is asked for in large pages, and what a step needs for itself is not kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASKING = """
import os, sys
from pathlib import Path
from atbert_jax.input_pipeline.audio import allocation
allocation.KERNEL = Path(sys.argv[1])
print("started", flush=True)
allocation.use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[2:])
"""
STEPS = """
import jax, jax.numpy as jnp
from atbert_jax.input_pipeline.audio.allocation import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

@jax.jit
def step(x):
    whole = jnp.cumsum(jnp.broadcast_to(x, (64, 2**20)), 0)
    return whole.sum() + jnp.sort(whole, 0)[3, 5]

keep_freed_memory()
x = jnp.ones(2**20)
step(x).block_until_ready()
before = resident()
for _ in range(3):
    step(x).block_until_ready()
print((resident() - before) // 2**20)
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    variables = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | environment
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=variables | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.mark.parametrize(
    ("kernel", "given", "starts", "found"),
    [
        ("always [madvise] never", {}, 2, "glibc.malloc.hugetlb=1"),
        (
            "always [madvise] never",
            {"GLIBC_TUNABLES": "a.b.c=2"},
            2,
            "a.b.c=2:glibc.malloc.hugetlb=1",
        ),
        ("always [madvise] never", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, 1, None),
        ("[always] madvise never", {}, 1, None),
        (None, {}, 1, None),
    ],
)
def test_a_command_starts_again_once_where_large_pages_have_to_be_asked_for(
    tmp_path, kernel, given, starts, found
):
    path = tmp_path / "enabled"
    if kernel:
        path.write_text(kernel)
    lines = run(ASKING, str(path), "--flag=a b", **given).splitlines()
    assert lines[:-1] == ["started"] * starts
    assert lines[-1] == f"{found or given.get('GLIBC_TUNABLES')} ['--flag=a b']"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_steps_take_no_more_memory_from_one_to_the_next():
    assert int(run(STEPS)) < 200  # each of them needs 600 MiB for itself
