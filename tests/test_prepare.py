"""The command: what it writes, what it says, and that training reads it."""

import shlex

import pandas as pd
import pytest

from atbert_jax import prepare
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.records import read_manifest

TABLE = "filename,fold,target,category,esc10,src_file,take\n" + "".join(
    f"{n}.wav,{n % 5 + 1},{n % 2},{('rain', 'dog')[n % 2]},False,{n},A\n" for n in range(10)
)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "ESC-50 master"
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    (root / "meta/esc50.csv").write_text(TABLE)
    for number in range(9):
        (root / f"audio/{number}.wav").touch()
    return root


def prepared(capsys, *arguments: object) -> str:
    prepare.main(list(map(str, arguments)))
    return capsys.readouterr().out


def test_what_it_writes_and_says(capsys, tmp_path, root):
    said = prepared(capsys, "esc50/1", "--root", root, "--output", tmp_path / "out")
    assert (tmp_path / "out/labels.txt").read_text() == "rain\ndog\n"
    assert (tmp_path / "out/left_out.csv").read_text() == (
        "path,reason\naudio/9.wav,no such file\n"
    )
    assert "9 records (train 7, test 2)\n2 labels, in the order of labels.txt\n" in said
    assert "left out: 1 (no such file): audio/9.wav\n" in said
    assert "warning: split 'test' has 2 records, a complete copy has 400\n" in said
    command = shlex.split(said.partition("train with: ")[2])
    assert "--config.data.task=single_label" in command
    assert f"--config.data.manifest={tmp_path / 'out/manifest.csv'}" in command
    assert "--config.data.allow_outside=True" in command
    records = read_manifest(tmp_path / "out/manifest.csv", allow_outside=True)
    assert [record.path for record in records] == [root / f"audio/{n}.wav" for n in range(9)]


def test_the_command_of_a_regression(tmp_path):
    corpus = Corpus(pd.DataFrame(), task="regression", targets=("arousal", "valence"))
    command = prepare.train_command(
        corpus, tmp_path / "my songs/manifest.csv", {"data.allow_outside": True}
    )
    assert shlex.split(command)[3:] == [
        "--config",
        "configs/atbert_finetune.py",
        "--workdir",
        "runs/my songs",
        f"--config.data.manifest={tmp_path}/my songs/manifest.csv",
        "--config.data.task=regression",
        "--config.evaluation.best_metric=loss",
        "--config.data.target_columns=('arousal', 'valence')",
        "--config.data.allow_outside=True",
    ]


def test_paths_within_the_folder_are_relative(capsys, root):
    said = prepared(capsys, "esc50", "--root", root, "--output", root)
    assert "allow_outside" not in said
    assert (root / "manifest.csv").read_text().splitlines()[1] == "0,audio/0.wav,rain,test,0,1"
    assert all(record.path.is_file() for record in read_manifest(root / "manifest.csv"))


def test_nothing_of_an_earlier_run_is_left(capsys, tmp_path, root):
    out = tmp_path / "out"
    prepared(capsys, "esc50", "--root", root, "--output", out)
    (tmp_path / "songs/rock").mkdir(parents=True)
    (tmp_path / "songs/rock/a.mp3").touch()
    prepared(capsys, "folder", "--root", tmp_path / "songs", "--output", out)
    assert [file.name for file in out.iterdir()] == ["manifest.csv"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("esc51", "--root", "."), "error: corpus='esc51' is none of"),
        (("esc50/6", "--root", "."), "error: corpus 'esc50': variant='6' is none of 1, 2, 3,"),
        (("nsynth/x", "--root", "."), "error: corpus 'nsynth': variant='x' is none of ''"),
        (("esc50", "--root", "nowhere"), "error: nowhere: no such file or folder"),
    ],
)
def test_refusals(tmp_path, arguments, error):
    with pytest.raises(SystemExit, match=error):
        prepare.main([*arguments, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_manifest_is_not_overwritten_by_itself(tmp_path):
    (tmp_path / "manifest.csv").write_text("path\na.wav\n")
    (tmp_path / "a.wav").touch()
    given = ["--root", str(tmp_path / "manifest.csv"), "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"manifest\.csv: is read and cannot be written; give an"):
        prepare.main(["manifest", *given])
