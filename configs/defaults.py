"""Every config field, with its default, once. Experiments change what they need."""

import ml_collections

PRESETS = {
    "tiny": {
        "depths": (1, 1, 1, 1),
        "width": 16,
        "hidden": 128,
        "heads": 4,
        "layers": 2,
        "ffn": 256,
        "embedding": 64,
    },
    "small": {
        "depths": (2, 2, 2, 2),
        "width": 32,
        "hidden": 256,
        "heads": 4,
        "layers": 6,
        "ffn": 1024,
        "embedding": 128,
    },
    "base": {
        "depths": (3, 4, 6, 3),
        "width": 64,
        "hidden": 768,
        "heads": 12,
        "layers": 12,
        "ffn": 3072,
        "embedding": 128,
    },
}


def get_config(preset: str = "base") -> ml_collections.ConfigDict:
    """The defaults.

    Args:
        preset: Size of the model: 'tiny' (minutes on a CPU), 'small' or 'base' (ALBERT-base).

    Raises:
        ValueError: if there is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; use one of {', '.join(PRESETS)}")
    config = ml_collections.ConfigDict()
    config.seed = 0

    config.model = ml_collections.ConfigDict(PRESETS[preset])
    config.model.name = "atbert"
    config.model.fusion = "mid"  # 'early', 'late'
    config.model.sharing = "all"  # of the encoders' parameters: 'none', 'layers', 'factorized'
    config.model.rank = 128  # of factorized maps
    config.model.rotation = "exp"  # of factorized maps; or 'cayley'
    config.model.activation = "gelu_tanh"  # of the feed-forward blocks; or 'gelu'
    config.model.separable = False  # AVBert's CNN, which is published with width 32
    # Of the ResNet: 'full' is ATBERT's; 'strided' leaves it a sixteenth of the positions, and is as
    # much cheaper: for long log-mels of many bands, where 'full' fits no chip.
    config.model.stem = "full"
    config.model.norm = "batch"  # of the ResNet; or 'frozen' (running statistics), 'group'
    config.model.audio_encoder = "resnet"  # or a tagger, such as 'musicnn', with its front end
    config.model.mean_start = False  # the clip's first state also gets the mean of its segments
    config.model.dropout = 0.1
    config.model.dtype = "float32"  # 'bfloat16' on accelerators; parameters stay float32
    config.model.scan_layers = False
    # Keep products and convolutions alone for the backward pass, and compute the rest again: for
    # what does not fit into memory.
    config.model.remat = False

    # Of the taggers (see `atbert_jax.models.taggers`), as models and as audio encoders.
    config.tagger = ml_collections.ConfigDict(
        {
            "wide": False,  # MusiCNN as it was published for MSD
            "attention": 256,  # width of the Music Tagging Transformer; 64 is its compact student
            "dropout": 0.1,  # inside of the attention models; published for self_attention: 0.4
            "attention_dropout": 0.0,  # of their weights; published for self_attention: 0.5
            # SpecAugment within the model, which has its own front end.
            "frequency_masks": 0,
            "frequency_mask_size": 0.1,  # largest share of the bands under one mask
            "time_masks": 0,
            "time_mask_size": 0.1,
            "top_db": 0.0,  # how far below its loudest band a segment reaches; 0: to the floor
            "pooled": False,  # MusiCNN without its dense layer, as MuLaP hears with it
        }
    )

    # Of MuLaP, as it was published; `config.model` has the sizes of its text stream.
    config.mulap = ml_collections.ConfigDict(
        {
            "audio": {"hidden": 256, "heads": 8, "layers": 6, "ffn": 1024},
            "co_attention": True,
            # Before which layers of the two streams co-attentions stand.
            "text_places": (4, 5),
            "audio_places": (0, 1),
            "width": 1024,  # of the co-attentions and of the summary
            "heads": 8,  # of the co-attentions
            "fusion": "mul",  # of the streams' summaries; or 'sum'
        }
    )

    # Of the cross-modal transformer; `config.model` has the sizes of its BERT.
    config.crossmodal = ml_collections.ConfigDict(
        {
            "modalities": ("audio", "text"),  # or one of them
            "width": 64,  # of both streams
            "heads": 8,
            "layers": 4,  # of each of four stacks, or of one on audio alone
            "n_mfcc": 40,
            "top_db": 80.0,  # range of the bands that MFCCs are made of
            "merge": "average",  # of a stream's states over time; or 'last'
            "causal": False,  # attention hides what comes later, across streams too, as published
            "embedding_dropout": 0.2,
            "attention_dropout": 0.2,
            "audio_attention_dropout": 0.0,  # where audio listens to text
            "relu_dropout": 0.1,
            "dropout": 0.1,  # of what is added to the residuals
        }
    )

    # Of M3BERT, which hears frames (data.input).
    config.m3bert = ml_collections.ConfigDict(
        {
            "downsample": 1,  # neighbouring frames that are stacked into one position
            "select": "last",  # of the layers: 'first', 'average', or their learned sum, 'weighted'
        }
    )

    # Objectives by weight; the settings of each are below, under its name. The name of one of
    # data.tasks is a classification of its labels, with the settings of `classification`.
    config.objectives = ml_collections.ConfigDict()
    config.correct_pair = ml_collections.ConfigDict(
        {
            "inputs": "summary_random",  # or 'summary', 'two_heads'
            "head": "mlp",  # two layers, or 'linear'
        }
    )
    config.masked_acoustic = ml_collections.ConfigDict(
        {
            "mask": "frames_channels",  # runs of frames and of columns; or 'frames', 'patches'
            "rate": 0.15,  # of the frames, or of the cells under patches
            "span": "geometric",  # length of a run of frames, from 2 to 7; or 'constant'
            "consecutive": 7,  # mean or constant length of a run; side of a patch
        }
    )
    config.masked_embedding = ml_collections.ConfigDict(
        {
            "streams": ("audio", "text"),
            "rate": 0.15,  # of the positions, that are masked
            # Or 'cans_dissimilar', 'current_minibatch', 'current_sequence'.
            "negatives": "cans_similar",
            "count": 64,  # of negatives
            "detach_targets": False,  # no gradient through what was under the mask
        }
    )
    config.masked_language = ml_collections.ConfigDict(
        {"rate": 0.15, "with_audio": False}  # whether the clip is in view
    )
    config.masked_audio = ml_collections.ConfigDict(
        {
            "rate": 0.15,  # with which each segment is masked
            "loss": "mse",  # or 'huber', 'kl'
            "with_text": True,  # whether the text is in view
        }
    )
    config.alignment = ml_collections.ConfigDict({"temperature": 0.1})  # initial; it is learned
    config.classification = ml_collections.ConfigDict(
        {
            "views": ("audio_text", "audio", "text"),
            "head": "mlp",  # two layers; or 'linear', or 'residual'
            "hidden": 0,  # width of 'mlp' between the two; 0: half of the trunk's
            "activation": "tanh",  # of 'mlp' between them; or 'relu'
            "pooling": "summary",  # or 'mean'
            "dropout": 0.1,
            "label_smoothing": 0.0,
            "mixup": 0.0,
        }
    )

    # Folders of `atbert_jax.convert` to start from: an ALBERT or a BERT, and a ResNet; or as audio
    # the run of a tagger, or of what hears with one, for the same tagger here.
    config.init = ml_collections.ConfigDict({"text": "", "audio": ""})
    # A checkpoint folder to start from: preprocessing, tokenizer and all weights that fit.
    config.init_from = ""
    # Parameters that may differ from it, as regular expressions on their names.
    config.init_allow_mismatch = ()
    # With init_from: train the same network from scratch as well, for the report.
    config.scratch_twin = True

    config.data = ml_collections.ConfigDict(
        {
            "manifest": "",  # one table, or several with commas between them
            # What a batch carries of the audio: 'log_mel'; or the 'waveform' itself, of which
            # the step makes the log-mel, or a tagger whatever it hears with; or 'frames' of
            # musical features, that `atbert extract` prepares.
            "input": "log_mel",
            "root": "",  # folder that paths are relative to; empty: the manifest's own
            "allow_outside": False,  # allow paths that lead out of it
            "mixture": (),  # weight of each manifest; empty: by their sizes
            "text_column": "text",
            "label_column": "",  # empty: `labels` or `label`
            "label_separator": "|",  # between the labels of a cell
            "target_columns": (),  # numbers to predict, for task 'regression'
            # Names in order; empty: those of labels.txt beside the manifest, or its own, sorted.
            "labels": (),
            "task": "",  # 'single_label', 'multi_label', 'regression'; empty: no labels
            # Several tasks instead, by name: kind (one of these), columns of the manifest, and
            # names of the labels or empty; a record may lack the labels of any.
            "tasks": {},
            "split_column": "split",
            "group_column": "group",
            "train_split": "train",
            "val_split": "val",
            "test_split": "test",
            "val_fraction": 0.1,  # drawn from train where the manifest has no such split
            "test_fraction": 0.1,  # drawn where the manifest has no splits at all
            "stratify": True,  # what is drawn has its share of each label
            # Records of train whose audio is in val or test, byte for byte: 'keep' them, with a
            # warning, or 'drop' them.
            "copies": "keep",
            "hold_out": "",  # 'column=value': those records, all of them, are the test split
            "samples_per_label": 0,  # few-shot: train on so many records of each label; 0: on all
            # Training batches of records of about the same length, cut to it: so many batches are
            # sorted together, 32 say. 0: every batch is padded to the longest there can be.
            "bucketing": 0,
            "memory_mb": 2048,  # budget for remembering decoded clips of up to 12 seconds
            "max_bad_share": 0.1,  # of the training records, that cannot be read; more end the run
            "threads": 0,  # that decode audio; 0: one for each core
        }
    )
    config.spectrogram = ml_collections.ConfigDict(
        {
            "sample_rate": 16_000,
            "n_fft": 1024,
            "hop_length": 320,
            "n_mels": 64,
            "f_min": 0.0,
            "f_max": 0.0,
            "mel_scale": "slaney",
            "power": 2.0,
            "log_floor": 1e-6,
            "frames": 0,  # above 0: n_fft and hop_length by ATBERT's rule for so many frames
        }
    )
    # Of data.input='frames'.
    config.features = ml_collections.ConfigDict(
        {
            "sample_rate": 44_100,
            "hop_length": 1024,
            "n_fft": 2048,
            "n_chroma": 12,
            "n_mfcc": 20,
            "n_mels": 128,
            "n_cqt_chroma": 144,
            "log_floor": 1e-6,
        }
    )
    config.segmenting = ml_collections.ConfigDict(
        {
            "segments": 10,  # S, that the model hears of a clip at a time: one chunk
            "seconds": 1.0,  # of one segment
            "layout": "windows",  # segments one after another; or 'spaced' over the whole clip
            "hop": 0.0,  # seconds from chunk to chunk in evaluation; 0: the length of a chunk
            "chunks": 0,  # instead: so many, evenly spaced (16 as the taggers were published)
        }
    )
    config.normalization = "dataset"
    config.text = ml_collections.ConfigDict(
        {
            # File, folder or hub name; empty: that of init.text, or one trained on the manifest.
            "tokenizer": "",
            "vocabulary": 8000,  # of a tokenizer that is trained here
            "max_tokens": 32,
        }
    )
    config.augmentation = ml_collections.ConfigDict(
        {
            "random_crop": True,
            "time_shift": 0.0,
            "gain_db": 0.0,
            "noise_snr_db": 20.0,
            "noise_probability": 0.0,
            "pitch_semitones": 0.0,
            "pitch_probability": 1.0,
            "frequency_masks": 0,
            "frequency_mask_size": 0.1,
            "time_masks": 0,
            "time_mask_size": 0.1,
            "polarity_probability": 0.0,
            "filter_probability": 0.0,  # low-pass or high-pass
            "delay_probability": 0.0,
            "reverb_probability": 0.0,
            "soft_only": False,  # only what has soft labels, of `atbert_jax.pseudo_label`
        }
    )

    config.train = ml_collections.ConfigDict(
        {
            "steps": 10_000,
            "batch_size": 64,  # global
            "accumulate": 1,  # micro-batches that a batch is computed in
            "log_every": 50,
            "evaluate_every": 500,  # steps between validations, each followed by a checkpoint
            "keep_latest": 2,
            "modality_dropout": 0.0,  # share of the rows that lose their clip or their text
            "max_nonfinite": 20,  # steps in a row without a finite loss that end the run
        }
    )
    config.sharding = ml_collections.ConfigDict(
        {
            "data": -1,  # devices that a batch is split over; -1: all that `model` leaves
            "model": 1,  # devices that attention heads and feed-forward widths are split over
            "fsdp": False,  # parameters and optimizer state split over `data` too
        }
    )
    config.optimizer = ml_collections.ConfigDict(
        {
            "name": "adamw",  # or 'amsgrad', 'adam', 'sgd', 'adam_sgd' (SGD from the first switch)
            "learning_rate": 1e-4,
            "trunk_rate": 1.0,  # factor of it for the trunk, all that is named `model/...`
            # Regular expressions on the names of parameters that stay as they are (--describe).
            "frozen": (),
            "b1": 0.9,
            "b2": 0.98,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,  # of the global gradient; 0 is off
            "schedule": "cosine",  # after the warm-up; or 'linear', 'constant', 'steps'
            "warmup_steps": 500,
            "switch_at": (),  # shares of the run, where its next phase begins
            "switch_rates": (),  # learning rate of each phase but the first, for 'steps'
            "reload_best": False,  # each phase begins with the weights of the best checkpoint
        }
    )
    config.evaluation = ml_collections.ConfigDict(
        {
            "batch_size": 64,
            "aggregate": "mean",  # chunks into tracks; or 'max', 'vote'
            "rerank": 32,  # candidates of a search that the pair head puts in order; 0: none
            "best_metric": "loss",  # a validation metric's name; the lowest loss, else the highest
        }
    )
    return config
