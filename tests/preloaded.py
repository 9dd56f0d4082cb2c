"""Imports what commands import, of all that takes long and starts nothing."""

import importlib
import os

# Without PyTorch the import of transformers prints advice about models.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

for name in (
    "tensorflow",
    "atbert_jax.evaluation.evaluate_run",
    "atbert_jax.input_pipeline.batching.batches",
    "atbert_jax.training.loop",
    "atbert_jax.training.twin",
    # What those import where they need it.
    "jinja2",
    "librosa.filters",
    "ml_collections.config_flags",
    "sentencepiece.sentencepiece_model_pb2",
    "transformers.models.albert.tokenization_albert",
):
    importlib.import_module(name)
