"""Audio-text transformers in JAX: what learns. What reads is `input_pipeline`."""

__version__ = "0.1.0"
