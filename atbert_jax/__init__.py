"""Audio-text transformers in JAX.

    model = atbert_jax.load("runs/genre")
    model.tag("song.mp3", top=5)

Nothing is imported before it is needed.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "model": ["Model", "load"],
        "given_config": ["train"],
        "library.embedding_index": ["Index", "combined"],
    },
)
