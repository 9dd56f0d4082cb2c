"""A trained model, its card and its data's card: into a folder, or onto the Hugging Face hub."""

import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from atbert_jax.evaluation import model_card
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.training import trained
from atbert_jax.weights import files, hub


def give_away(
    run: str | Path,
    target: str,
    *,
    step: int | None = None,
    report: Path | None = None,
    data: Path | None = None,
    license_id: str = "",
    public: bool = False,
    message: str = "A model",
    dry_run: bool = False,
    console: Console | None = None,
) -> None:
    """Gives away what predicting needs: arrays, config, contract and tokenizer, with a card.

    Args:
        run: A run's folder, or what `hub.folder` takes.
        target: `hub:owner/name`, or a new folder.
        step: Which checkpoint; None is the best one.
        report: Folder of an evaluation, whose figures go on the card.
        data: About the data, see `model_card.card`.
        license_id: Of the model, as the hub names it.
        public: Whether a new repository can be seen by everybody.
        message: Of the commit.
        dry_run: List the files, and do no more.
        console: Where to talk.

    Raises:
        ValueError: if the run, the target or what goes on the card is not as it should be.
        OSError: if the hub refuses, or something cannot be written.
    """
    console = console or Terminal()
    on_hub, name = target.startswith(hub.PREFIX), target.removeprefix(hub.PREFIX)
    if on_hub:
        hub.require_name(name)
    else:
        files.require_new(Path(target))
    figures = model_card.read_metrics(report) if report else None
    model = trained.load(hub.folder(run), step)
    text = model_card.card(model, target, metrics=figures, data=data, license_id=license_id)
    with tempfile.TemporaryDirectory() as place:
        draft = Path(place) / "model"
        model.save(draft)
        whole_file.write(draft / model_card.FILE, text)
        if data is not None and data.suffix == ".html":
            shutil.copyfile(data, draft / model_card.DATA)
        for file in hub.files_of(draft):
            size = (draft / file).stat().st_size
            console.print(f"{file}  {size:,} bytes", markup=False, highlight=False, soft_wrap=True)
        if dry_run:
            said = f"{target}: nothing is written there"
        elif on_hub:
            said = hub.upload(draft, name, public=public, message=message)
        else:
            with files.creating(Path(target)) as new:
                shutil.copytree(draft, new, dirs_exist_ok=True)
            said = f"{target}: use it as any run's folder"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
