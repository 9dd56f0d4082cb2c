"""The base of ablations on small sets: a minute or two a run on two CPU cores.

atbert ablate --config ablation:music --workdir runs/ablation \
    --config.data.manifest=music/manifest.csv --grid model.layers=1,2,4
"""

import ml_collections

from atbert_jax.configs import notes_pretrain, quickstart_pretrain, spoken_words

STEPS = 250


def get_config(data: str = "music") -> ml_collections.ConfigDict:
    """Pre-training with all of AVBert's objectives, cut short.

    Args:
        data: 'music' (such as the synthetic set), 'notes' (of instruments, with captions) or
            'words' (spoken ones, with transcripts).

    Raises:
        ValueError: if there is no such base; the message lists those there are.
    """
    bases = {"music": quickstart_pretrain.get_config, "notes": notes_pretrain.get_config}
    if data not in (*bases, "words"):
        raise ValueError(f"no base {data!r}; use one of {', '.join((*bases, 'words'))}")
    config = bases.get(data, quickstart_pretrain.get_config)()
    if data == "words":
        spoken_words.set_up_words(config)
        config.text.vocabulary = 60
        config.text.max_tokens = 8
    config.objectives.masked_embedding = 1.0
    config.train.steps = STEPS
    config.train.evaluate_every = STEPS // 2
    config.train.keep_latest = 1
    config.optimizer.warmup_steps = 50
    return config
