"""The commands by one name: `atbert train ...`, or `python -m atbert_jax train ...`."""

import runpy
import sys

from atbert_jax import __version__, choices, command

VERBS = {
    "train": ("atbert_jax.train", "pre-train or fine-tune a model"),
    "evaluate": ("atbert_jax.evaluate", "measure a model on a split, with a report"),
    "compare": ("atbert_jax.compare", "put reports of several runs side by side"),
    "predict": ("atbert_jax.predict", "ask a model about files, folders or texts"),
    "convert": ("atbert_jax.convert", "bring in weights of others, or give yours away"),
    "export": ("atbert_jax.export", "write a model for programs without this package"),
    "push": ("atbert_jax.push", "give a model away, on the Hugging Face hub or as a folder"),
    "probe": ("atbert_jax.probe", "fit a linear model on what frozen models hear"),
    "index": ("atbert_jax.index", "embed recordings, to search them"),
    "search": ("atbert_jax.search", "find recordings by a text or a clip"),
    "duplicates": ("atbert_jax.duplicates", "find recordings that are there more than once"),
    "label": ("atbert_jax.label", "label recordings by listening to what a model asks about"),
    "serve": ("atbert_jax.serve", "search, listen and label in a browser"),
    "ablate": ("atbert_jax.ablate", "train a grid of configs and compare them"),
    "pseudo_label": ("atbert_jax.pseudo_label", "label a manifest with a model's answers"),
    "prepare": ("atbert_jax.prepare", "make a manifest, or shards, of a corpus"),
    "extract": ("atbert_jax.input_pipeline.extract", "prepare musical features"),
    "unpickle": (
        "atbert_jax.input_pipeline.corpora.unpickle",
        "read recordings out of pickled tables",
    ),
    "synthesize": (
        "atbert_jax.input_pipeline.synthetic_music.generate",
        "make music with captions and labels, to try things out",
    ),
    "quickstart": ("atbert_jax.quickstart", "go the whole way on synthetic music"),
    "doctor": ("atbert_jax.doctor", "say what is installed, what is missing and how to get it"),
}


def usage() -> str:
    """What there is to do, a line for each verb."""
    lines = [f"  {verb:14}{what}" for verb, (_, what) in VERBS.items()]
    return "\n".join(
        [
            "usage: atbert VERB [flags]",
            "",
            *lines,
            "",
            "`atbert VERB --help` lists the flags of a verb.",
        ]
    )


def main() -> None:
    """Becomes the command that the first argument names."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("--help", "-h", "help"):
        print(usage())
        sys.exit(0)
    if verb == "--version":
        print(__version__)
        sys.exit(0)
    try:
        module, _ = VERBS[choices.require("verb", verb, VERBS)]
    except ValueError as error:
        command.fail(str(error), 2)
    command.show_all_names()
    del sys.argv[1]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        command.fail(command.explain(error), 1)


if __name__ == "__main__":
    main()
