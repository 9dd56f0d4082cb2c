"""Models that are given away: what leaves, what the card says, and that it answers as the run."""

import io
import json
import re
import shutil

import huggingface_hub
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

import atbert_jax
from atbert_jax.evaluation import model_card
from atbert_jax.evaluation.giving_away import give_away
from atbert_jax.training import published, trained
from atbert_jax.weights import hub
from tests import hub_server, listener
from tests.commands import one_line, run

NAME = "hub:someone/tones"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub on this machine, which the client takes for the one that there is."""
    with hub_server.running() as found:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield found


def give(*arguments, **settings) -> str:
    console = Console(file=io.StringIO(), width=200)
    give_away(*arguments, console=console, **settings)
    return console.file.getvalue()


def test_from_the_hub_it_answers_as_the_run(tone_run, tmp_path, server):
    said = give(tone_run, NAME)
    assert "(private)" in said
    assert server.private == {"someone/tones": True}
    files = server.files["someone/tones"]
    assert set(files) == {*hub.NEEDED, "README.md"}
    assert "Bearer hf_secret" in server.tokens
    for content in files.values():
        assert b"hf_secret" not in content
        assert str(tmp_path).encode() not in content
    # What else somebody may put there is not fetched.
    files["evil.py"] = b"print('run')"
    clip = next((tmp_path / "tracks").glob("*.wav"))
    ours, theirs = atbert_jax.load(tone_run), atbert_jax.load(NAME)
    assert theirs.tag(clip) == ours.tag(clip)
    np.testing.assert_array_equal(theirs.embed_audio(clip), ours.embed_audio(clip))
    assert theirs.trained.step == ours.trained.step
    assert not list((tmp_path / "cache").rglob("evil.py"))
    # The same one again, and by its revision; a hub that is gone is no matter then.
    server.asked.clear()
    commit = server.commit_of("someone/tones")
    assert hub.folder(f"{NAME}@{commit}").name == commit
    assert not [path for method, path in server.asked if method == "GET" and "resolve" in path]
    give(tone_run, NAME)


def test_without_the_hub_the_cache_answers_or_the_error_is_clear(tone_run, server, monkeypatch):
    give(tone_run, NAME)
    expected = hub.folder(NAME)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.folder(NAME) == expected
    with pytest.raises(OSError, match=r"^hub:someone/other: the hub does not give .*name"):
        atbert_jax.load("hub:someone/other")
    with pytest.raises(OSError, match=r"^hub:someone/tones: the hub does not give or take it"):
        give(tone_run, NAME)


def test_what_is_no_model_or_no_name_is_refused(tone_run, server):
    server.files["someone/else"], server.private["someone/else"] = {"config.json": b"{}"}, False
    with pytest.raises(ValueError, match=r"repository has no contract.json, weights"):
        atbert_jax.load("hub:someone/else")
    for wrong in ("hub:tones", "hub:a/b/c", "hub:../..", "hub:a/b?c", "hub:"):
        with pytest.raises(ValueError, match="is no name of the hub; give hub:owner/name"):
            atbert_jax.load(wrong)
        with pytest.raises(ValueError, match="is no name of the hub"):
            give(tone_run, wrong)
    with pytest.raises(ValueError, match="name the revision behind @"):
        atbert_jax.load("hub:a/b@")


def test_a_card_names_what_is_loaded(tone_run):
    """The repository as it is, and of a folder the name alone."""
    model = trained.load(tone_run)
    for place, shown in ((NAME, NAME), ("/home/someone/given/tones/", "tones")):
        card = model_card.card(model, place)
        assert "\n# tones\n" in card
        assert f'atbert_jax.load("{shown}")' in card


def test_a_dry_run_lists_what_would_leave(tone_run, tmp_path, server):
    said = give(tone_run, NAME, dry_run=True)
    assert all(re.search(rf"^{re.escape(name)}  [\d,]+ bytes$", said, re.M) for name in hub.NEEDED)
    assert server.asked == []
    give(tone_run, str(tmp_path / "given"), dry_run=True)
    assert not (tmp_path / "given").exists()


def test_the_command_makes_a_folder_with_a_card(tone_run, tmp_path):
    report, data = tmp_path / "report", tmp_path / "data.md"
    report.mkdir()
    values = {"accuracy": 0.75, "systems": {"mfcc": {"accuracy": 0.5}}, "chosen": {"a": {"b": 1}}}
    values["evaluated"] = {"model": "atbert", "step": 4, "records": 12}
    (report / "metrics.json").write_text(json.dumps(values))
    data.write_text("Twelve tones.\n")
    given = tmp_path / "given"
    more = (f"--report={report}", f"--data_card={data}", "--license=cc0-1.0")
    done = run("atbert_jax.push", tone_run, given, *more)
    assert not done.returncode, done.stderr
    card = (given / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: atbert_jax\npipeline_tag: audio-classification\n")
    assert "license: cc0-1.0\n---\n\n# given\n" in card
    assert "**Labels** (2): `high`, `low`" in card
    assert "| `accuracy` | 0.7500 |\n| `systems/mfcc/accuracy` | 0.5000 |\n" in card
    assert "chosen" not in card
    assert "evaluated" not in card
    assert "## Data\n\nTwelve tones.\n" in card
    assert 'model = atbert_jax.load("given")' in card
    assert str(tmp_path) not in card
    assert trained.load(given).config.data.manifest == ""
    assert "give a run and where to" in one_line(run("atbert_jax.push", tone_run))
    for settings, says in (
        ({"target": str(given)}, "exists already"),
        ({"report": tmp_path}, "no metrics.json here"),
        ({"data": report}, "give a text as .md"),
        ({"license_id": "mit\nx"}, "is no licence"),
    ):
        with pytest.raises(ValueError, match=says):
            give(tone_run, **({"target": str(tmp_path / "new")} | settings))


def test_names_on_the_card_do_nothing():
    for name, shown in {
        "a`b": "`` a`b ``",
        "<script>": "`<script>`",
        "\x1b[31mred": r"`\x1b[31mred`",
        "](http://a)": "`](http://a)`",
    }.items():
        assert model_card._code(name) == shown


@pytest.fixture
def given(tone_run, tmp_path):
    trained.load(tone_run).save(tmp_path / "given")
    return tmp_path / "given"


def test_arrays_that_are_not_the_models_are_refused_before_they_are_read(given):
    file, arrays = given / "weights.safetensors", load_file(given / "weights.safetensors")
    name = next(iter(arrays))
    for change in (
        {name: np.zeros((2, 3, 5), np.float32)},
        {name: arrays[name].astype(np.float64)},
        {"other": np.zeros(3, np.float32)},
    ):
        save_file(arrays | change, file)
        with pytest.raises(ValueError, match=r"does not fit the model of .* there, .* here"):
            trained.load(given)
    save_file({key: value for key, value in arrays.items() if key != name}, file)
    with pytest.raises(ValueError, match=f"{name}: missing there"):
        trained.load(given)
    for step in ("-1", "x", "9" * 13):
        save_file(arrays, file, metadata={"step": step})
        with pytest.raises(ValueError, match="is no step"):
            trained.load(given)
    for data in (b"", b"\xff" * 16, file.read_bytes()[:-8]):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="not a safetensors file"):
            trained.load(given)


def test_places_that_somebody_else_names_are_not_looked_up(given):
    """Neither at the top of a config, nor in that of a model within a probe."""
    values = json.loads((given / "config.json").read_text())
    hostile = {"manifest": "/etc/passwd", "root": "/", "allow_outside": True}
    values["data"] |= hostile
    values["init_from"] = "/"
    values = {name: each for name, each in values.items() if name not in ("checksum", "format")}
    (given / "config.json").write_text(json.dumps(values))
    config = trained.load(given).config
    assert (config.data.manifest, config.data.root, config.init_from) == ("", "", "")
    assert not config.data.allow_outside
    config.probe.ears = {"inner": {"config": {"data": dict(hostile), "init_from": "/"}}}
    inner = published.without_places(config).probe.ears.inner.config
    assert inner.to_dict() == {
        "data": {"manifest": "", "root": "", "allow_outside": False},
        "init_from": "",
    }
    with pytest.raises(ValueError, match="manifest"):
        atbert_jax.load(given).evaluate()


def test_a_run_starts_from_what_was_given_away(tone_run, given):
    expected, found = (atbert_jax.load(each).trained for each in (tone_run, given))
    step, arrays = published.read_all(given)
    assert step == found.step
    assert set(arrays) == set(load_file(given / "weights.safetensors"))
    with pytest.raises(ValueError, match=rf"is checkpoint {expected.step}, and has no 77"):
        trained.load(given, 77)
    assert not (given / "checkpoints").exists()
    shutil.rmtree(tone_run)
    assert trained.load(given).config.model == expected.config.model


def test_a_single_number_stays_one(tmp_path, monkeypatch):
    monkeypatch.setattr(published.run_folder, "save_run", lambda *_: None)
    model = listener.make("alignment")
    arrays = {"objectives": {"alignment": {"log_scale": np.zeros((), np.float32)}}}, {}
    published.write(tmp_path, model.config, model.contract, model.tokenizer, arrays, 1)
    assert load_file(tmp_path / published.WEIGHTS)["objectives/alignment/log_scale"].shape == ()
