"""A command that was killed ends as if nothing had happened when it is given again.

ATBERT_KILLS=20 kills each that often, at random moments; the default is for every day.
"""

import dataclasses
import functools
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import commands
from tests.training import test_interruption as interruption

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ATBERT_KILLS", "2"))
# In a row, before the command is let go to its end.
IN_A_ROW = 4


@dataclasses.dataclass(frozen=True)
class Verb:
    """A command to kill.

    Attributes:
        command: Of the folder that it writes.
        result: What must be the same of that folder, whatever happened.
        once: What it refuses to write again, in that folder; where it is there, it is whole.
    """

    command: Callable[[Path], tuple[str, ...]]
    result: Callable[[Path], dict[str, object]]
    once: str = ""


def names(folder: Path) -> list[str]:
    """All files but the data of checkpoints and TensorBoard, whose names are drawn."""
    drawn = {"checkpoints", "tensorboard"}
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if not drawn & set(file.parts))


def contents(folder: Path) -> dict[str, object]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def without_times(value: object) -> object:
    """JSON without what was measured with a clock, and without the folder's own name."""
    if isinstance(value, dict):
        timed = [key for key in value if "seconds" in key or "minutes" in key]
        return {key: without_times(value[key]) for key in value if key not in timed}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def report(folder: Path, name: str) -> dict[str, object]:
    values = json.loads((folder / name).read_text().replace(str(folder), "OUT"))
    return {"names": names(folder), name: without_times(values)}


def training(folder: Path) -> dict[str, object]:
    from atbert_jax.training.checkpoint import Checkpoints
    from atbert_jax.training.writers import read_metrics
    from tests import tiny

    arrays = tiny.named(Checkpoints(folder).restore_arrays(interruption.STEPS))
    found = {name: value.tobytes() for name, value in arrays.items()}
    return {"rows": read_metrics(folder), "names": names(folder), **found}


@pytest.fixture(scope="module")
def run(music, tmp_path_factory) -> Path:
    """A fine-tuned model, which all but the training start from."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = commands.train(music / "tracks.csv", folder, "--config.data.task=single_label")
    assert not result.returncode, result.stderr
    return folder


@pytest.fixture(scope="module")
def verbs(music, run, tmp_path_factory) -> dict[str, Verb]:
    table, albert = music / "tracks.csv", tmp_path_factory.mktemp("albert") / "albert"
    result = commands.run("atbert_jax.convert", "--to_pytorch", "albert", run, albert)
    assert not result.returncode, result.stderr
    tones = interruption.write_tones(tmp_path_factory.mktemp("tones"))
    corpus = tmp_path_factory.mktemp("corpus")
    for number in range(60):
        file = corpus / ("low", "high")[number % 2] / f"{number}.wav"
        file.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(file, noise, 8000)
    prepare = ("atbert_jax.prepare", "folder", f"--root={corpus}")
    evaluate = ("atbert_jax.evaluate", f"--checkpoint={run}")
    label = ("atbert_jax.pseudo_label", f"--checkpoint={run}", str(table))
    convert = "atbert_jax.convert"
    ablate = ("atbert_jax.ablate", "--config=configs/ablation.py", "--over=seed=2", *commands.TINY)
    return {
        "train": Verb(lambda out: interruption.command(tones, out), training),
        "prepare": Verb(lambda out: (*prepare, f"--output={out}"), contents),
        "prepare --shards": Verb(
            lambda out: (
                *prepare,
                f"--output={out}",
                "--shards",
                "--records_per_shard=2",
                "--sample_rate=8000",
                "--deduplicate",
            ),
            contents,
        ),
        "evaluate": Verb(
            lambda out: (*evaluate, f"--output={out}"),
            functools.partial(report, name="metrics.json"),
        ),
        "ablate": Verb(
            lambda out: (*ablate, f"--config.data.manifest={table}", f"--workdir={out}"),
            functools.partial(report, name="ablation.json"),
        ),
        "convert": Verb(lambda out: (convert, "albert", str(albert), str(out)), contents, once="."),
        "convert --to_pytorch": Verb(
            lambda out: (convert, "--to_pytorch", "albert", str(run), str(out)),
            contents,
            once=".",
        ),
        "pseudo_label": Verb(
            lambda out: (*label, f"--output={out / 'labels.jsonl'}"), contents, once="labels.jsonl"
        ),
    }


def finish(command: tuple[str, ...], said: Path) -> float:
    """Runs a command to its end; returns the seconds that it took."""
    began, process = time.monotonic(), commands.start(command, said, said)
    process.join(interruption.PATIENCE)
    assert process.exitcode == 0, said.read_text(encoding="utf-8")[-3000:]
    return time.monotonic() - began


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "prepare",
        "prepare --shards",
        "evaluate",
        "ablate",
        "convert",
        "convert --to_pytorch",
        "pseudo_label",
    ],
)
def test_killed_and_given_again_it_ends_as_if_nothing_had_happened(verbs, name, tmp_path):
    verb, rng, said = verbs[name], random.Random(name), tmp_path / "said.txt"
    # What it compiles is found again by the others, which are timed by it.
    finish(verb.command(tmp_path / "first" / "out"), said)
    seconds = finish(verb.command(tmp_path / "whole" / "out"), said)
    expected, killed = verb.result(tmp_path / "whole" / "out"), 0
    assert expected
    while killed < KILLS:
        out = Path(tempfile.mkdtemp(dir=tmp_path)) / "out"
        for _ in range(min(IN_A_ROW, KILLS - killed)):
            process = commands.start(verb.command(out), said, said)
            process.join(rng.uniform(0, seconds))
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:  # it was faster
                break
            killed += 1
        if not (verb.once and (out / verb.once).exists()):
            finish(verb.command(out), said)
        found = verb.result(out)
        assert found.keys() == expected.keys()
        assert [key for key in expected if found[key] != expected[key]] == []
    print(f"{name}: the same after {killed} kills; it takes {seconds:.1f} s", flush=True)
