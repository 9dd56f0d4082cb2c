"""What people and data sets call the splits."""

import re

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def split_of(name: str) -> str:
    """The split that is called so, as `Train`, `test_set` or `validation-data`; '' of no split."""
    return SPLITS.get(re.sub(r"[-_. ]?(set|data|split)$", "", name.lower()), "")
