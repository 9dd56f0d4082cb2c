"""What a run's folder holds beside the arrays: whole, mended from copies, or refused by name."""

import contextlib
import copy
import dataclasses
import json
import random
import re
import shutil
from pathlib import Path

import pytest

from atbert_jax.evaluation import probing
from atbert_jax.input_pipeline.batching import bad_records
from atbert_jax.input_pipeline.contract import TOKENIZER, Contract
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.training import checkpoint, published, run_folder, trackers
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from tests import run_folder_page, tiny, trial
from tests.documents import text_of
from tests.training.test_checkpoint import make_state


def test_a_run_keeps_config_contract_and_tokenizer(tmp_path):
    words = ["slow piano", "fast drums", "a quiet song", "loud guitars and drums"]
    tokenizer = tokenization.load_tokenizer(
        tokenization.train_sentencepiece(words, tmp_path / "s.model", 60)
    )
    contract = tiny.make_contract("regression", vocabulary=len(tokenizer))
    config = tiny.make_config(seed=3)
    run = tmp_path / "deep" / "run"
    run_folder.save_run(run, config, contract, tokenizer)
    assert (run / TOKENIZER).is_dir()
    loaded, same, other = run_folder.load_run(run)
    assert loaded.to_json_best_effort() == config.to_json_best_effort()
    assert same == contract
    assert other(words)["input_ids"] == tokenizer(words)["input_ids"]


def test_the_page_has_the_format_the_contract_and_what_checkpoints_copy():
    """Its list of files is held against those of a run where one is trained."""
    text, files = text_of(run_folder_page.PAGE), run_folder_page.listed()
    assert f"format {whole_file.FORMAT}:" in text.replace("\n", " ")
    assert all(files[name] == "always" for name in checkpoint.COPIED)
    section = text.partition("## The contract")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert named == [field.name for field in dataclasses.fields(Contract)]
    own = {published.WEIGHTS, trackers.FILE, probing.CHOSEN}
    own |= {bad_records.FILE, bad_records.ODD_FILE}
    assert all(f"`{name}`" in text for name in own)


@pytest.fixture
def run(tmp_path):
    """A run's folder with two checkpoints, the config's learning rate changed between them."""
    tokenizer = tokenization.tokenizer_without_text()
    contract = tiny.make_contract(vocabulary=len(tokenizer))
    config, checkpoints = tiny.make_config(), Checkpoints(tmp_path, keep_latest=2)
    for step in (1, 2):
        config.optimizer.learning_rate = 0.1 * step
        run_folder.save_run(tmp_path, config, contract, tokenizer)
        checkpoints.save(make_state(step), 0.5)
    checkpoints.close()
    return tmp_path


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"model": 3}'])
@pytest.mark.parametrize("name", ["config.json", "contract.json"])
def test_what_is_damaged_comes_from_the_latest_checkpoint(run, caplog, name, content):
    before = run_folder.load_run(run)
    (run / name).write_bytes(content)
    config, contract, _ = run_folder.load_run(run)
    assert config.to_json_best_effort() == before[0].to_json_best_effort()
    assert config.optimizer.learning_rate == 0.2
    assert contract == before[1]
    assert f"{run / name}: " in caplog.text
    assert "the copy of checkpoint 2" in caplog.text


@pytest.mark.parametrize("name", ["config.json", "contract.json"])
def test_damage_without_a_copy_names_file_and_remedy(run, name):
    shutil.rmtree(run / checkpoint.FOLDER)
    (run / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{run / name}: is empty; copy it again"):
        run_folder.load_run(run)


def test_what_is_there_already_is_not_written_again(run):
    config, contract, tokenizer = run_folder.load_run(run)
    files = [file for file in run.rglob("*") if file.is_file() and "checkpoints" not in file.parts]
    before = {file: file.stat().st_ino for file in files}
    assert len(before) > 3
    run_folder.save_run(run, config, contract, tokenizer)
    assert {file: file.stat().st_ino for file in files} == before


@pytest.mark.parametrize("moment", range(1, 9))
def test_a_kill_while_files_are_written_leaves_each_whole(run, monkeypatch, moment):
    """Every file is the old one or the new one, whichever write the kill comes before."""
    config, contract, _ = run_folder.load_run(run)
    words = ["slow piano", "fast drums", "a quiet song", "loud guitars and drums"]
    model = tokenization.train_sentencepiece(words, run / "new" / "s.model", 60)
    tokenizer, replaced, left = tokenization.load_tokenizer(model), Path.replace, [moment]

    def replace(path, target):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return replaced(path, target)

    def files() -> dict[str, bytes]:
        return {str(x): x.read_bytes() for x in run.rglob("*.json") if "checkpoints" not in x.parts}

    old = files()
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace)
        changed = dataclasses.replace(contract, vocabulary=len(tokenizer))
        config.seed = 7
        run_folder.save_run(run, config, changed, tokenizer)
    torn = files()
    run_folder.save_run(run, config, changed, tokenizer)
    new = files()
    assert old != new
    assert all(torn[name] in (old[name], new[name]) for name in old)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("left", [0, 0.5])
def test_a_damaged_tokenizer_comes_from_the_latest_checkpoint(tmp_path, caplog, name, left):
    """As a kill or a full disk may leave it; saving the run again mends it."""
    words = ["slow piano", "fast drums", "a quiet song", "loud guitars and drums"]
    model = tokenization.train_sentencepiece(words, tmp_path / "s.model", 60)
    tokenizer, run = tokenization.load_tokenizer(model), tmp_path / "run"
    contract = tiny.make_contract(vocabulary=len(tokenizer))
    run_folder.save_run(run, tiny.make_config(), contract, tokenizer)
    with contextlib.closing(Checkpoints(run)) as checkpoints:
        checkpoints.save(make_state(3), 0.5)
    file = run / TOKENIZER / name
    whole = file.read_bytes()
    file.write_bytes(whole[: int(left * len(whole))])
    config, contract, mended = run_folder.load_run(run)
    assert mended(words)["input_ids"] == tokenizer(words)["input_ids"]
    assert f"{run / TOKENIZER}: no tokenizer can be read" in caplog.text
    assert "the copy of checkpoint 3" in caplog.text
    run_folder.save_run(run, config, contract, mended)
    assert file.read_bytes() == whole


def test_a_damaged_tokenizer_is_named(run):
    shutil.rmtree(run / checkpoint.FOLDER)
    data, rng, found = (run / TOKENIZER / "tokenizer.json").read_bytes(), random.Random(0), []
    for _ in range(200):
        mutant = bytearray(data)
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        (run / TOKENIZER / "tokenizer.json").write_bytes(mutant)
        found.append(trial.outcome(lambda: run_folder.load_run(run)[2].get_vocab(), ValueError))
    refused = [each for each in found if isinstance(each, str)]
    assert len(refused) > 50
    assert not [each for each in refused if not each.startswith(f"refused: {run / TOKENIZER}")]


def test_mutants_of_a_config_without_checksum_are_read_or_refused_by_name(run):
    shutil.rmtree(run / checkpoint.FOLDER)
    values, rng, found = json.loads((run / "config.json").read_text()), random.Random(0), []
    del values["checksum"], values["format"]
    for _ in range(200):
        mutant = copy.deepcopy(values)
        section = mutant
        while True:
            name = rng.choice(list(section))
            if not isinstance(section[name], dict) or not section[name] or rng.random() < 0.1:
                break
            section = section[name]
        section[name] = rng.choice([None, True, -1, "x", [], {}, {"x": 1}])
        (run / "config.json").write_text(json.dumps(mutant))
        found.append(trial.outcome(lambda: run_folder.load_config(run), CheckpointError))
    refused = [each for each in found if isinstance(each, str)]
    assert len(refused) > 50
    assert not [each for each in refused if not each.startswith(f"refused: {run / 'config.json'}")]


def test_a_folder_that_is_no_run_says_so(tmp_path):
    for load in (run_folder.load_config, run_folder.load_run):
        with pytest.raises(CheckpointError, match=f"{tmp_path}: no config.json here.*--workdir"):
            load(tmp_path)
