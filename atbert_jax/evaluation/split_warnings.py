"""What a reader has to know of the clips that something was measured on."""

from atbert_jax.input_pipeline.audio import remarks
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.manifest.shards import where

# Of labels that a warning lists.
MOST_NAMES = 20
FITTED = (
    "Models and baselines were fitted on these very clips: nothing here says how they do on others,"
    " or which of them is better."
)


def of(dataset: Dataset, split: str) -> list[str]:
    """All warnings of a split, whose clips have been read."""
    fitted = [FITTED] if split == "train" else []
    return [*fitted, *labels_without_clips(dataset, split), *odd_files(dataset, split)]


def labels_without_clips(dataset: Dataset, split: str) -> list[str]:
    """A warning of the labels of each task that no clip of the split has, if there are any."""
    warnings = []
    for labels in dataset.contract.by_objective.values():
        values, mask = (dataset.split(split).tables[field] for field in labels.fields)
        there = (values[mask > 0] > 0).any(axis=0)
        lacking = [name for name, found in zip(labels.names, there, strict=True) if not found]
        if lacking and there.any() and labels.task != "regression":
            what = f"{labels.name}: " if labels.name else ""
            warnings.append(
                f"{what}No clip of {split} has {len(lacking)} of the {len(labels.names)} labels, so"
                f" nothing is measured of them: {', '.join(lacking[:MOST_NAMES])}"
                + (", ..." if len(lacking) > MOST_NAMES else ".")
            )
    return warnings


def odd_files(dataset: Dataset, split: str) -> list[str]:
    """A warning of files that are not heard as they are written, if there are any."""
    sources = [where(record.path, record.place) for record in dataset.split(split).records]
    said = {source: remark for source in sources if (remark := remarks.of(source))}
    if not said:
        return []
    source, remark = next(iter(said.items()))
    return [f"{len(said)} files are not heard as they are written, {source} first: it {remark}."]
