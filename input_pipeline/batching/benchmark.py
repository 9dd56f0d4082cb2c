"""How fast a data set is read, stage by stage.

python -m atbert_jax.input_pipeline.batching.benchmark --config configs/atbert_pretrain.py:small \
    --config.data.manifest=tracks.csv
"""

import json
import os
import sys

from absl import app, flags
from ml_collections import config_flags

from atbert_jax.input_pipeline.audio.allocation import keep_freed_memory
from atbert_jax.input_pipeline.batching.stages import measure_stages, table
from atbert_jax.input_pipeline.progress import Terminal

CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
CLIPS = flags.DEFINE_integer("clips", 512, "How many clips to read.")
JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")


def main(_: list[str]) -> None:
    """Prints a row for each stage; errors end it with one line and status 1."""
    try:
        with Terminal(stderr=True).status("reading"):
            rows = [stage.row for stage in measure_stages(CONFIG.value, CLIPS.value)]
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if JSON.value:
        print(json.dumps(rows, indent=1))
    else:
        Terminal().print(table(rows))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_freed_memory()
    flags.mark_flags_as_required(["config"])
    app.run(main)
