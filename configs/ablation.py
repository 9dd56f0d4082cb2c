"""The base of ablations on small sets: a minute or two a run on two CPU cores.

atbert ablate --config ablation:music --workdir runs/ablation \
    --config.data.manifest=music/manifest.csv --grid model.layers=1,2,4
"""

import ml_collections

from atbert_jax.configs import notes_pretrain, quickstart_pretrain, spoken_words, words

STEPS = 250


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Pre-training with all of AVBert's objectives, cut short.

    Args:
        given: The data: 'music' (such as the synthetic set), 'notes' (of instruments, with
            captions) or 'words' (spoken ones, with transcripts).
    """
    (data,) = words.read(given, data=(("music", "notes", "words"), "music"))
    config = (notes_pretrain if data == "notes" else quickstart_pretrain).get_config()
    if data == "words":
        spoken_words.set_up_words(config)
        config.text.vocabulary = 60
        config.text.max_tokens = 8
    config.objectives.masked_embedding = 1.0
    config.train.steps = STEPS
    config.train.evaluate_every = STEPS // 2
    config.train.keep_latest = 1
    config.optimizer.warmup_steps = 0.2
    return config
