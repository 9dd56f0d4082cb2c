"""Say what is installed, what is missing and how to get it: `atbert doctor`.

Reads the package's own list of what it needs, and asks JAX which devices it sees. The exit code is
1 where something is missing that predicting needs.
"""

import platform
import sys
from importlib import metadata

from packaging.requirements import Requirement

from atbert_jax import __version__, command
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.reporting.tables import Table, print_table

PACKAGE = "atbert-jax"
# What each extra is for; the empty one is the package itself.
PURPOSES = {
    "": "predict",
    "report": "pictures and reports",
    "train": "train and evaluate",
    "prepare": "make shards of a corpus",
    "beam": "on many machines",
    "serve": "a page to search and label in",
    "wandb": "follow runs in Weights & Biases",
    "mlflow": "follow runs in MLflow",
    "torch": "compare with PyTorch",
}


def requirements(extra: str) -> list[Requirement]:
    """What the package, or one of its extras, asks for here.

    Raises:
        ValueError: if the package runs without having been installed.
    """
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(f"{PACKAGE} is not installed; run pip install {PACKAGE}") from error
    found = []
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        of_extra = marker is not None and "extra ==" in str(marker)
        if of_extra != bool(extra) or (marker and not marker.evaluate({"extra": extra})):
            continue
        if requirement.name == PACKAGE:
            found += [each for name in requirement.extras for each in requirements(name)]
        else:
            found.append(requirement)
    return found


def problem(requirement: Requirement) -> str:
    """What is wrong with what is installed of a requirement; empty if nothing is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is not {requirement.specifier}"


def devices() -> str:
    """The devices that JAX sees, or why it sees none."""
    import jax

    try:
        found = jax.devices()
    except RuntimeError as error:
        return f"none: {str(error).splitlines()[0]}"
    return f"{len(found)} x {found[0].device_kind} ({found[0].platform})"


def main() -> None:
    """Prints two tables."""
    console = Terminal()
    versions = [("Python", platform.python_version()), (PACKAGE, __version__)]
    for requirement in requirements(""):
        if not problem(Requirement(requirement.name)):
            versions.append((requirement.name, metadata.version(requirement.name)))
    versions.append(("devices", devices()))
    print_table(Table("What there is", ["what", "version"], versions), console)
    rows, broken = [], False
    for extra, purpose in PURPOSES.items():
        problems = list(filter(None, map(problem, requirements(extra))))
        name = f"{PACKAGE}[{extra}]" if extra else PACKAGE
        broken |= bool(problems) and not extra
        way_out = f"pip install '{name}'" if problems else ""
        rows.append([purpose, "; ".join(problems) or "complete", way_out])
    print_table(Table("What one can do", ["to", "state", "way out"], rows), console)
    sys.exit(int(broken))


if __name__ == "__main__":
    command.run(main)
