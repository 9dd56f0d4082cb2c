"""A page to search, listen and label in: `atbert serve lib --checkpoint runs/pretrain`.

It is there for this machine alone, at http://127.0.0.1:7860, and needs no network. With `--output`
the page labels by listening into a manifest, as `atbert label` does. Ctrl-C ends it.
"""

import contextlib
import os
import signal
import tempfile
from pathlib import Path

from absl import flags

from atbert_jax import command, index_commands

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The model that made the index; by default where it was then."
)
HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; others than loopback let strangers in."
)
PORT = flags.DEFINE_integer("port", 7860, "Port to listen on.", lower_bound=1, upper_bound=65535)
OUTPUT = flags.DEFINE_string("output", None, "Manifest of what is labelled, as of `atbert label`.")
LABEL = flags.DEFINE_string(
    "label", "", "Name of what is sought; by default that of the manifest, as `piano` of piano.csv."
)
MEGABYTES = flags.DEFINE_float("upload_mb", 50, "Largest upload, in megabytes.", lower_bound=0)
SECONDS = flags.DEFINE_float("upload_seconds", 600, "Longest upload.", lower_bound=0)


def main(arguments: list[str]) -> None:
    """Answers until it is stopped."""
    if len(arguments) != 1:
        raise ValueError("name the folder of one index, as lib")
    if LABEL.value and not OUTPUT.value:
        raise ValueError(
            f"--label={LABEL.value}: is of a manifest that is labelled into; name it, as --output"
            " piano.csv, or leave --label out"
        )
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.library.embedding_index import Index
    from atbert_jax.library.label_file import LabelFile
    from atbert_jax.library.label_session import LabelSession

    file = LabelFile(Path(OUTPUT.value), LABEL.value) if OUTPUT.value else None
    with tempfile.TemporaryDirectory(prefix="atbert-") as folder, contextlib.ExitStack() as stack:
        uploads, played = Path(folder) / "uploads", Path(folder) / "sounds"
        uploads.mkdir()
        played.mkdir()
        # Read by Gradio where it is imported.
        os.environ |= {"GRADIO_TEMP_DIR": str(uploads), "GRADIO_ANALYTICS_ENABLED": "False"}
        import uvicorn

        from atbert_jax.page.answers import Answers
        from atbert_jax.page.guard import address
        from atbert_jax.page.site import application
        from atbert_jax.page.sounds import Sounds
        from atbert_jax.page.uploads import Limits

        index = Index(arguments[0])
        model = index_commands.model_of(index, CHECKPOINT.value)
        session = None
        if file:
            stack.enter_context(file.locked())
            session = LabelSession(index, file)
        limits = Limits(MEGABYTES.value, SECONDS.value)
        answers = Answers(model, index, uploads, Sounds(played), limits, session)
        app = application(answers, HOST.value)
        Terminal().print(f"{address(HOST.value, PORT.value)}  (Ctrl-C ends it)")
        # Uvicorn ends in order, and raises the signal again; what is temporary is removed then.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.run(
                app,
                host=HOST.value,
                port=PORT.value,
                log_level="warning",
                timeout_graceful_shutdown=3,  # pages that are open hold a connection for good
            )


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
