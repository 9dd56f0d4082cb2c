"""Fine-tune a CLAP on labels, from its own pre-training or a published one.

atbert train --config clap_finetune:larger,linear_probe --workdir runs/genre \
    --config.data.manifest=tracks.csv --config.init_from=runs/clap

`runs/clap` is what `atbert convert clap` has made of laion/larger_clap_music, or a run of
`clap_pretrain`.
"""

import ml_collections

from atbert_jax.configs import atbert_finetune, clap_pretrain, words


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Single-label classification of the sound alone.

    Args:
        given: The size, 'unfused', 'fused', 'larger' or 'tiny'; and the protocol, if any:
            'linear_probe' (a linear head on a frozen trunk), 'mlp_probe' (a head of two layers on
            it), 'partial' (the audio encoder from its last stage on, at a tenth of the head's rate)
            or 'full' (all of it, at a tenth). Without one all is trained at one rate.
    """
    size, protocol = words.read(
        given, size=(clap_pretrain.SIZES, "unfused"), protocol=(atbert_finetune.PROTOCOLS, "")
    )
    config = clap_pretrain.get_config(size)
    config.objectives.alignment = None
    config.objectives.classification = 1.0
    config.classification.views = ("audio",)
    config.data.task = "single_label"
    config.evaluation.best_metric = "classification/audio/accuracy"
    config.train.update({"steps": 3000, "evaluate_every": 250})
    config.optimizer.warmup_steps = 1 / 15
    if size != "tiny":
        config.train.batch_size = 32
    stages = "|".join(map(str, range(len(config.clap.depths) - 1)))
    lower = (
        rf"^model/audio_encoder/(band_norm|patches|stages/({stages})/|mergings)",
        "^model/(text_|pooler)",
    )
    atbert_finetune.use_protocol(config, protocol, lower)
    return config
