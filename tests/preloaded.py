"""What commands import, of all that takes long and starts nothing."""

import tensorflow  # noqa: F401

import atbert_jax.evaluation.evaluate_run
import atbert_jax.input_pipeline.batching.batches
import atbert_jax.training.loop  # noqa: F401
