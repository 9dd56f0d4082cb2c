"""Models of the Hugging Face hub, by names such as `hub:owner/name`."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from atbert_jax.input_pipeline.contract import FILE, TOKENIZER
from atbert_jax.input_pipeline.text import wordpiece
from atbert_jax.weights.files import PYTORCH_CONFIG, WEIGHTS

PREFIX = "hub:"
# All that a model needs; whatever else a repository holds is not fetched.
NEEDED = (
    PYTORCH_CONFIG,
    FILE,
    WEIGHTS,
    f"{TOKENIZER}/{wordpiece.TOKENIZER_FILE}",
    f"{TOKENIZER}/{wordpiece.SETTINGS_FILE}",
)
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def folder(given: str | Path) -> Path:
    """A model's folder; that of a name of the hub is fetched, or found in the hub's own cache.

    Args:
        given: A folder, or `hub:owner/name`, with `@revision` behind it if it is not the latest.

    Raises:
        ValueError: if it is a name of the hub that is none, or a repository that is no model.
        OSError: if the hub does not have it, or cannot be reached and the cache lacks it.
    """
    if not str(given).startswith(PREFIX):
        return Path(given).expanduser()
    name, at, revision = str(given).removeprefix(PREFIX).partition("@")
    require_name(name)
    if at and not revision:
        raise ValueError(f"{given}: name the revision behind @, or leave it out")
    with _said(given):
        from huggingface_hub import snapshot_download

        found = snapshot_download(name, revision=revision or None, allow_patterns=list(NEEDED))
    if lacking := [file for file in NEEDED if not (Path(found) / file).is_file()]:
        raise ValueError(
            f"{given}: the repository has no {', '.join(lacking)}, so it is no model of this"
            " package; `atbert push` makes one"
        )
    return Path(found)


def upload(draft: Path, name: str, *, public: bool, message: str) -> str:
    """Uploads the files of a folder as one commit; a repository that is not there is made.

    Args:
        draft: The folder.
        name: `owner/name`.
        public: Whether a new repository can be seen by everybody.
        message: Of the commit.

    Returns:
        What became of it, for people.

    Raises:
        ValueError: if it is no such name.
        OSError: if nobody is logged in, or the hub refuses it or cannot be reached.
    """
    require_name(name)
    with _said(PREFIX + name):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        api.create_repo(name, private=not public, exist_ok=True)
        operations = [CommitOperationAdd(file, draft / file) for file in files_of(draft)]
        commit = api.create_commit(name, operations, commit_message=message)
        seen = "private" if api.repo_info(name).private else "public"
    return f"{commit.commit_url} ({seen})"


def files_of(draft: Path) -> Sequence[str]:
    """The files below a folder, by their paths from there."""
    found = (file for file in draft.rglob("*") if file.is_file())
    return sorted(file.relative_to(draft).as_posix() for file in found)


def require_name(name: str) -> None:
    """Refuses what is no name of a repository.

    Raises:
        ValueError: saying what one looks like.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{PREFIX}{name}: is no name of the hub; give hub:owner/name")


@contextlib.contextmanager
def _said(name: str | Path) -> Iterator[None]:
    """Errors of the hub as one line, with the way out."""
    from huggingface_hub.errors import HTTPError  # of the library that it asks with

    try:
        yield
    except (OSError, HTTPError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{name}: the hub does not give or take it ({first}); check the name and the network,"
            " or log in by `hf auth login`"
        ) from error
