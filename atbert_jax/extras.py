"""The extras of the package that bring what predicting does not need."""

import contextlib
from collections.abc import Iterator

# Which extra brings a package, by the name that it is imported by.
EXTRAS = {
    "tensorflow": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "tensorflow_datasets": "prepare",
    "apache_beam": "beam",
    "gradio": "serve",
    "fastapi": "serve",
    "uvicorn": "serve",
    "wandb": "wandb",
    "mlflow": "mlflow",
}


def way_out(error: BaseException) -> str:
    """How to install the package that an import did not find; '' where no extra brings it."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if package not in EXTRAS:
        return ""
    return f"{package} is not installed; run pip install 'atbert-jax[{EXTRAS[package]}]'"


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Says of a package that is not installed which extra brings it.

    Raises:
        ModuleNotFoundError: with the way out.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (text := way_out(error)):
            raise
        raise ModuleNotFoundError(text, name=error.name) from error
