"""The commands as a person runs them: each in a process of its own."""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--config.model.depths=(1,)",
    "--config.model.width=4",
    "--config.model.hidden=16",
    "--config.model.layers=1",
    "--config.model.ffn=16",
    "--config.model.embedding=8",
    "--config.spectrogram.sample_rate=8000",
    "--config.spectrogram.n_fft=256",
    "--config.spectrogram.hop_length=128",
    "--config.spectrogram.n_mels=8",
    "--config.segmenting.segments=2",
    "--config.segmenting.seconds=0.25",
    "--config.text.max_tokens=24",
    "--config.train.steps=2",
    "--config.train.batch_size=4",
    "--config.train.evaluate_every=2",
    "--config.optimizer.warmup_steps=1",
)
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",  # compiles in half the time
    "COLUMNS": "200",
}
# Stands in for an installation without extras.
WITHOUT_TENSORFLOW = (
    "import sys; from atbert_jax.extras import EXTRAS; sys.modules.update(dict.fromkeys(EXTRAS)); "
)


# Commands are forked off a server that has imported what takes them ten seconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.preloaded"])


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess:
    """`python -m` of the arguments; or of the code, in a process that has imported nothing yet."""
    command = [str(argument) for argument in arguments]
    if not code:
        return _forked(command)
    return subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def _forked(command: list[str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = start(command, *outputs)
        process.join()
        said = [output.read_text(encoding="utf-8") for output in outputs]
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def start(
    command: Sequence[str], stdout: Path, stderr: Path, stdin: str = os.devnull
) -> multiprocessing.Process:
    """`python -m` of a command in the background, which writes behind what is in the files."""
    given = command, stdin, (stdout, stderr), ENVIRONMENT
    with mock.patch.dict(os.environ, ENVIRONMENT):
        process = SERVER.Process(target=_execute, args=given)
        process.start()
    return process


def _execute(
    command: Sequence[str], stdin: str, outputs: Sequence[Path], environment: dict[str, str]
) -> None:
    """Becomes the command, in the forked process."""
    os.environ.update(environment)  # the server has that of its own start
    tempfile.tempdir = None  # which it may have asked for already
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(ROOT)
    module, *sys.argv[1:] = command
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # As an interpreter ends: JAX waits there for the other processes of a training, which
        # would abort if the first one were gone before them. A fork ends without it.
        atexit._run_exitfuncs()


def train(manifest: Path, workdir: Path, *more: str, config: str = "atbert_finetune"):
    return run(
        "atbert_jax.train",
        f"--config=configs/{config}.py:tiny",
        f"--workdir={workdir}",
        f"--config.data.manifest={manifest}",
        *TINY,
        *more,
    )


def one_line(result: subprocess.CompletedProcess) -> str:
    """The only line of an error that is told, not thrown."""
    assert result.returncode in (1, 2), result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def write_manifest(music: Path, name: str, change) -> Path:
    rows = (music / "tracks.csv").read_text().splitlines()
    path = music / name
    path.write_text("\n".join(change(rows)) + "\n")
    return path
