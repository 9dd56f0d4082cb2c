"""Stand-ins for wandb and mlflow: what a run uses of them, and what they were told."""

import dataclasses
import sys
import types
from typing import Any

import pytest


@dataclasses.dataclass
class Told:
    """One run of a tracker."""

    name: str
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    rows: list[tuple[int, dict]] = dataclasses.field(default_factory=list)
    states: list[str] = dataclasses.field(default_factory=list)


def wandb(monkeypatch: pytest.MonkeyPatch) -> dict[str, Told]:
    """A module `wandb`; its runs by their ids."""
    runs: dict[str, Told] = {}

    class Run:
        def __init__(self, identity: str) -> None:
            self.id, self.axes = identity, {}

        def define_metric(self, name: str, step_metric: str = "") -> None:
            self.axes[name] = step_metric

        def log(self, values: dict) -> None:
            assert self.axes == {"step": "", "*": "step"}
            rest = dict(values)
            runs[self.id].rows.append((rest.pop("step"), rest))

        def finish(self, exit_code: int) -> None:
            runs[self.id].states.append(f"exit {exit_code}")

    def init(*, dir, name, config, id, resume, project) -> Run:  # noqa: A002
        assert (resume == "allow") == bool(id)
        identity = id or f"w{len(runs)}"
        runs.setdefault(identity, Told(f"{project}: {name}", config))
        return Run(identity)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return runs


def mlflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Told]:
    """Modules `mlflow` and `mlflow.entities`; its runs by their ids."""
    runs: dict[str, Told] = {}
    experiments: dict[str, str] = {}

    class Client:
        def get_experiment_by_name(self, name: str) -> Any:
            known = experiments.get(name)
            return known and types.SimpleNamespace(experiment_id=known)

        def create_experiment(self, name: str) -> str:
            experiments[name] = str(len(experiments))
            return experiments[name]

        def create_run(self, experiment: str, *, run_name: str) -> Any:
            identity = f"m{len(runs)}"
            (title,) = (name for name, each in experiments.items() if each == experiment)
            runs[identity] = Told(f"{title}: {run_name}")
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=identity))

        def update_run(self, identity: str, *, status: str) -> None:
            runs[identity].states.append(status)

        def log_batch(self, identity: str, *, metrics=(), params=()) -> None:
            assert len(params) <= 100
            runs[identity].params |= dict(params)
            if metrics:
                (step,) = {each[3] for each in metrics}
                runs[identity].rows.append((step, {each[0]: each[1] for each in metrics}))

        def set_terminated(self, identity: str, status: str) -> None:
            runs[identity].states.append(status)

    entities = types.SimpleNamespace(Metric=lambda *given: given, Param=lambda *given: given)
    module = types.SimpleNamespace(MlflowClient=Client, entities=entities)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return runs
