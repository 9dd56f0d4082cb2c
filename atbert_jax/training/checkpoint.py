"""State -> checkpoint and back, through Orbax."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from atbert_jax.input_pipeline import contract as contracts
from atbert_jax.input_pipeline.text import wordpiece
from atbert_jax.parallel import distributed, stopping
from atbert_jax.parallel.sharding import placed
from atbert_jax.training import sameness
from atbert_jax.training.state import TrainState

T = TypeVar("T")

CONFIG = "config.json"
# Each checkpoint has copies of these, for the day that they are damaged.
COPIED = (
    CONFIG,
    contracts.FILE,
    f"{contracts.TOKENIZER}/{wordpiece.TOKENIZER_FILE}",
    f"{contracts.TOKENIZER}/{wordpiece.SETTINGS_FILE}",
)
FOLDER = "checkpoints"
METRIC = "best_metric"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the folder and the way out."""


class DamagedError(CheckpointError):
    """A checkpoint that was written in part, or has changed since.

    Args:
        message: For people.
        reason: What is wrong with it.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Checkpoints:
    """The numbered checkpoints of a run.

    Args:
        workdir: The run's folder, which is an attribute too.
        keep_latest: How many of the latest to keep; the best one by the validation metric is kept
            beside them.
    """

    def __init__(self, workdir: Path, keep_latest: int = 1) -> None:
        self.workdir, self._keep_latest, self._saving = workdir, keep_latest, None
        self._open()

    def _open(self) -> None:
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            (self.workdir / FOLDER).absolute(),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(self._keep_latest),
                    policies.BestN(
                        get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
        )

    def save(
        self, state: TrainState, metric: float | None, pending: Sequence[Mapping] = ()
    ) -> None:
        """Saves a state in the background.

        Args:
            state: To save.
            metric: Higher is better; None if it was not measured.
            pending: Metrics of the steps that are not logged yet, for a run that goes on here.

        Raises:
            CheckpointError: if this or the last save failed, as on a full disk.
        """
        # Orbax refuses to write nothing, as the statistics of a model without any are.
        groups = {name: tree for name, tree in _groups(state).items() if jax.tree.leaves(tree)}
        about = {
            "digests": {name: int(_digest(tree)) for name, tree in groups.items()},
            "pending": [dict(row) for row in pending],
            "files": {
                name: (self.workdir / name).read_text(encoding="utf-8")
                for name in COPIED
                if (self.workdir / name).is_file()
            },
        }
        with self._failing():
            self._wait()  # a save is skipped while another one is going on
            self._saving = self._checkpointer.save_checkpointables_async(
                int(state.step),
                groups,
                metrics=None if metric is None else {METRIC: metric},
                custom_metadata=about,
                overwrite=True,
            )

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Says what a failed save means."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{self.workdir / FOLDER}: a checkpoint could not be written ({_cause(error)});"
                " earlier ones are intact: make room or mend the cause, and run the same command"
                " again"
            ) from error

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, or None."""
        found = self._checkpointer.latest
        return found.step if found else None

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest metric, the latest of equals; or None."""
        return self.by_metric[0] if self.by_metric else None

    @property
    def by_metric(self) -> list[int]:
        """Steps from the best to the worst."""
        found = [(_metric(entry.metrics), entry.step) for entry in self._checkpointer.checkpoints]
        return [step for _, step in sorted(found, reverse=True)]

    def restore_latest(self, like: TrainState) -> tuple[TrainState, list[dict]] | None:
        """The latest state that is whole, with the metrics that were pending; None if none is.

        Damaged ones are moved to `damaged/` with a warning.
        """
        while (step := self.latest) is not None:
            try:
                return self.restore_state(step, like), self._metadata(step)[1]["pending"]
            except DamagedError as error:
                self._put_aside(step, error)
        return None

    def _put_aside(self, step: int, error: DamagedError) -> None:
        logging.getLogger(__name__).warning("%s", error)
        self._checkpointer.close()
        if distributed.is_first():
            target = self.workdir / "damaged" / str(step)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self.workdir / FOLDER / str(step)).rename(target)
        distributed.wait_for_all(f"damaged {step}")
        self._open()

    def restore_state(self, step: int, like: TrainState) -> TrainState:
        """The whole state of a step, placed as `like` is."""
        loaded = self._load(step, _abstract(_groups(like)))
        model = loaded.pop("params"), loaded.pop("statistics")
        return like.with_model(*model).replace(**loaded.pop("counts"), **loaded)

    def restore_model(self, step: int, params: dict, statistics: dict) -> tuple[dict, dict]:
        """Parameters and statistics of a step, which must have these very shapes."""
        loaded = self._load(step, {"params": params, "statistics": statistics})
        return loaded["params"], loaded["statistics"]

    def best_whole(self, read: Callable[[int], T]) -> tuple[int, T]:
        """The best step that `read` can read, and what it read; damaged ones are warned of.

        Raises:
            CheckpointError: if there is none.
        """
        damaged: list[DamagedError] = []
        for step in self.by_metric:
            try:
                found = read(step)
            except DamagedError as error:
                damaged.append(error)
                continue
            for error in damaged:
                logging.getLogger(__name__).warning("%s", error)
            return step, found
        if damaged:
            steps = ", ".join(map(str, self.by_metric))
            raise CheckpointError(
                f"{self.workdir}: is damaged, in every checkpoint ({steps}): {damaged[0].reason};"
                " copy the folder again from where it came from"
            )
        raise CheckpointError(f"{self.workdir}: holds no whole checkpoint yet; train there first")

    def restore_best(self, like: TrainState) -> tuple[int, TrainState]:
        """The best step, and `like` with its parameters and statistics.

        Raises:
            CheckpointError: if there is no whole checkpoint.
        """
        self._wait()  # the best one may be on its way to the disk
        targets = _abstract((like.params, like.statistics))
        step, arrays = self.best_whole(lambda step: self.restore_model(step, *targets))
        return step, like.with_model(*arrays)

    def restore_arrays(self, step: int) -> dict[str, dict]:
        """Parameters and statistics of a step, whatever their names are, on one device."""
        stored, _ = self._metadata(step)
        # Placed anew: the devices that the checkpoint was written from need not be here.
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return self._load(
            step,
            {name: placed(stored.get(name) or {}, device) for name in ("params", "statistics")},
        )

    def _load(self, step: int, targets: dict[str, Any]) -> dict[str, Any]:
        stored, about = self._metadata(step)
        empty = {name: tree for name, tree in targets.items() if not jax.tree.leaves(tree)}
        lost = [
            name
            for name in targets
            if not stored.get(name) and (name in about["digests"] or name not in empty)
        ]
        targets = {name: tree for name, tree in targets.items() if name not in empty}
        if lost:
            raise self._damaged(step, OSError(f"its {', '.join(lost)} are not there whole"))
        # Orbax itself loads arrays of another shape or type without a word.
        misfits = sameness.misfits(stored, targets)
        if misfits:
            more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
            raise CheckpointError(
                f"{self.workdir}: checkpoint {step} does not fit this model"
                f" ({'; '.join(misfits[:3])}{more}); use the config that it was trained with, or"
                " another --workdir"
            )
        try:
            loaded = self._checkpointer.load_checkpointables(step, targets)
        except Exception as error:
            raise self._damaged(step, error) from error
        # Orbax keeps no checksums of its arrays.
        for name, digest in about["digests"].items():
            if name in loaded and int(_digest(loaded[name])) != digest:
                raise self._damaged(step, OSError(f"its {name} have changed since they were saved"))
        return loaded | empty

    def _metadata(self, step: int) -> tuple[dict[str, Any], dict]:
        """Shapes and types of a checkpoint's arrays, and what `save` wrote beside them."""
        steps = sorted(entry.step for entry in self._checkpointer.checkpoints)
        if step not in steps:
            raise CheckpointError(
                f"{self.workdir}: has no checkpoint {step}; there are {steps or 'none'}"
            )
        try:
            found = self._checkpointer.checkpointables_metadata(step)
            about = found.custom_metadata
            known = {name: about[name] for name in ("digests", "pending")}
            return found.metadata, known | {"files": about.get("files", {})}
        except Exception as error:
            raise self._damaged(step, error) from error

    def _damaged(self, step: int, error: Exception) -> DamagedError:
        return DamagedError(
            f"{self.workdir}: checkpoint {step} is damaged ({_cause(error)}); without"
            f" {self.workdir / FOLDER / str(step)} another one is used",
            _cause(error),
        )

    def copies(self, *names: str) -> Iterator[tuple[int, dict[str, str]]]:
        """The latest step, and the files `COPIED` that have these names; and of those before."""
        for step in sorted(self.by_metric, reverse=True):
            with contextlib.suppress(DamagedError):
                files = self._metadata(step)[1]["files"]
                if all(files.get(name) for name in names):
                    yield step, {name: files[name] for name in names}

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
            CheckpointError: if the last save failed.
        """
        with self._failing(), stopping.deferred():
            try:
                self._wait()
            finally:
                self._checkpointer.close()

    def _wait(self) -> None:
        """Waits for the save that is going on; with its answer go its thread and descriptors."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()
        self._checkpointer.wait()


def _groups(state: TrainState) -> dict[str, Any]:
    """A state as what is saved under names of its own; what is frozen is saved as all else."""
    return {
        "params": state.params,
        "statistics": state.statistics,
        "optimizer": state.optimizer,
        "counts": {
            "step": state.step,
            "nonfinite_steps": state.nonfinite_steps,
            "nonfinite_in_a_row": state.nonfinite_in_a_row,
        },
    }


@jax.jit
def _digest(tree: Any) -> jax.Array:
    """A number that changes with any bit of any array, on however many devices they are."""
    total = jnp.uint32(0)
    for x in jax.tree.leaves(tree):
        size = f"uint{8 * x.dtype.itemsize}"
        bits = jax.lax.bitcast_convert_type(x, size).astype(jnp.uint32).reshape(-1)
        odd = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
        total = total * jnp.uint32(31) + (bits * odd).sum(dtype=jnp.uint32)
    return total


def _cause(error: Exception) -> str:
    """The first line of what is behind an error."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0][:200]}"


def _metric(metrics: dict | None) -> float:
    return float((metrics or {}).get(METRIC, float("-inf")))


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
