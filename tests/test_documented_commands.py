"""Every command that pages and docstrings show is one: its verb, its flags, its config."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from atbert_jax.__main__ import VERBS
from docs.command_flags import loaded
from tests.documents import (
    PAGES,
    ROOT,
    SOURCES,
    blocks,
    commands,
    in_docstring,
    inline,
    name_of,
    prose,
    text_of,
)

# Programs that are not the project's own; what stands behind them is not looked at.
OTHERS = {"exit", "gcloud", "scontrol", "srun", "tensorboard", "[", "cd"}


SHOWN = [
    (f"{name_of(page)}: {' '.join(words)[:90]}", words)
    for page in PAGES
    for block in blocks(page)
    if block.language == "bash"
    for words in commands(block.text)
]
IN_DOCSTRINGS = [
    (f"{name_of(file)}: {' '.join(words)[:90]}", words)
    for file in SOURCES
    for words in commands(in_docstring(file))
]
# In the middle of a sentence a command may lack what is required.
IN_SENTENCES = [
    (f"{name_of(file)}: {code[:90]}", shlex.split(code))
    for file in [*PAGES, *SOURCES]
    for code in inline(
        prose(file) if file.suffix == ".md" else ast.get_docstring(ast.parse(text_of(file))) or ""
    )
    if code.startswith("atbert ") and "VERB" not in code and "..." not in code
]


def check(words: list[str], *, complete: bool = True) -> None:
    """Refuses a command whose program, verb, flags, config or overrides there are not."""
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if not words:
        return
    program, *rest = words
    program = Path(program).name
    if program == "srun":
        check(rest)
    elif program == "gcloud":
        remote = [word for word in rest if "atbert" in word]
        assert remote, "a command for other machines that does nothing with this project"
        for inner in commands(remote[0].removeprefix("--command=")):
            check(inner)
    elif program == "atbert":
        check_verb(rest, complete=complete)
    elif program == "python":
        check_python(rest)
    elif program == "docker" and rest[0] == "run":
        image = next(place for place, word in enumerate(rest) if word.startswith("atbert"))
        check_verb(rest[image + 1 :])
    elif program == "docker":
        assert rest[0] == "build"
        assert (ROOT / "Dockerfile").is_file()
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif program == "pip":
        check_pip(rest)
    else:
        assert program in OTHERS, f"{program} is no program of the project"


def check_verb(words: list[str], *, complete: bool = True) -> None:
    verb, *rest = words
    if verb in ("--help", "--version"):
        return
    assert verb in VERBS, f"no verb {verb}"
    if "--help" not in rest:
        with loaded(verb) as command:
            command.parse(rest, complete=complete)


def check_python(words: list[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        if words[0].startswith("benchmarks/"):
            with loaded(words[0]) as command:
                command.parse(words[1:])
        return
    module, *rest = words[1:]
    if module == "atbert_jax":
        check_verb(rest)
    elif module.startswith("atbert_jax."):
        assert module not in [name for name, _ in VERBS.values()], "say `atbert VERB`"
        # Verbs alone find configs by their names.
        configs = [flag for flag in rest if flag.startswith("configs/")]
        assert len(configs) == rest.count("--config")
        with loaded(module) as command:
            command.parse(rest)


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    for extras in re.findall(r"(?:^|\s)(?:\.|atbert-jax)\[([^]]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("words", [words for _, words in SHOWN], ids=[name for name, _ in SHOWN])
def test_commands_of_pages_parse(words):
    check(words)


@pytest.mark.parametrize(
    "words", [words for _, words in IN_DOCSTRINGS], ids=[name for name, _ in IN_DOCSTRINGS]
)
def test_commands_of_docstrings_parse(words):
    check(words)


@pytest.mark.parametrize(
    "words", [words for _, words in IN_SENTENCES], ids=[name for name, _ in IN_SENTENCES]
)
def test_commands_within_sentences_parse(words):
    check(words, complete=False)


def test_commands_are_found():
    verbs = {words[1] for _, words in SHOWN if words[0] == "atbert"}
    assert verbs >= VERBS.keys()
    assert len(SHOWN) > 80
    assert len(IN_DOCSTRINGS) > 20
    assert len(IN_SENTENCES) > 10


@pytest.mark.parametrize(
    "wrong",
    [
        "atbert trian --config atbert_pretrain --workdir a",
        "atbert train --config atbert_pretrian --workdir a",
        "atbert train --config atbert_pretrain:huge --workdir a",
        "atbert train --config atbert_pretrain --workdri a",
        "atbert train --config atbert_pretrain",
        "atbert train --config atbert_pretrain --workdir a --config.train.stpes=3",
        "atbert train --config atbert_pretrain --workdir a --config.train.steps=many",
        "atbert train --config atbert_pretrain --workdir a b",
        "atbert evaluate --checkpoint a --output b --split all",
        "atbert prepare esc50 --root a",
        "atbert prepare esc50 --root a --output b --shard",
        "atbert synthesize --output a --clips many",
        "python benchmarks/train_step.py --config atbert_pretrain:tiny --batches 2",
        "python benchmarks/nothing.py",
        "python -m atbert_jax.train --config atbert_pretrain --workdir a",
        "python -m atbert_jax.input_pipeline.batching.benchmark",
        "make lnt",
        "pip install '.[trian]'",
        "abtert train",
        "docker run --rm atbert:cuda trian --config atbert_pretrain --workdir a",
        "docker pull atbert",
        "srun atbert train --config nothing --workdir a",
        "gcloud ssh --command='cd a && atbert train --config nothing --workdir b'",
    ],
)
def test_a_wrong_command_is_refused(wrong):
    (words,) = commands(wrong)
    with pytest.raises((SystemExit, AssertionError, ValueError)) as caught:
        check(words)
    assert getattr(caught.value, "code", 2) == 2
