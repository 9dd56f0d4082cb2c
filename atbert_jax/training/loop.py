"""The training loop, the same for every model and objective."""

import contextlib
import itertools
from pathlib import Path
from typing import NoReturn

import ml_collections
from rich.console import Console

from atbert_jax.input_pipeline.audio.allocation import give_back_freed_memory
from atbert_jax.input_pipeline.progress import Meter, Terminal
from atbert_jax.parallel import distributed, sharding
from atbert_jax.training import (
    inputs,
    lock,
    optimizer,
    readiness,
    room,
    run_folder,
    run_log,
    starting,
    trackers,
)
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.profiling import Trace
from atbert_jax.training.state import TrainState, initialize, lay_out
from atbert_jax.training.step import make_train_step
from atbert_jax.training.writers import Writer

# The defaults of `config.train`.
DEFAULTS = {
    "steps": 10_000,  # updates in the whole run
    "batch_size": 64,  # global
    "accumulate": 1,  # micro-batches that a batch is computed in
    "log_every": 50,  # steps from one line of metrics to the next
    "evaluate_every": 500,  # steps between validations, each followed by a checkpoint
    "keep_latest": 2,  # checkpoints, beside the best one
    "modality_dropout": 0.0,  # share of the rows that lose their clip or their text
    "max_nonfinite": 20,  # steps in a row without a finite loss that end the run
    "tracker": "",  # 'wandb' or 'mlflow': follow the run there, too
}


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    console: Console | None = None,
    preprocessing: Path | None = None,
    profile: int = 0,
) -> dict[str, float | None]:
    """Trains what the config describes; a run that was stopped goes on where it was.

    Args:
        config: See `configs/defaults.py`.
        workdir: The run's folder; see `run_folder` for what is in it afterwards.
        console: Where to talk.
        preprocessing: A run whose preprocessing and tokenizer a new run takes; by default those of
            `config.init_from`, or else its own.
        profile: So many steps are traced (see `profiling`).

    Returns:
        The best validation metrics, by name.

    Raises:
        ValueError: before the first step, if the config, the manifest or a checkpoint is not as it
            should be; later, if too many files are bad, or too many losses in a row not finite; the
            message names the place and the way out.
        SystemExit: with `distributed.STOPPED` after SIGTERM or SIGINT, when the state is saved.
    """
    first_process, steps = distributed.is_first(), config.train.steps
    console = console or Terminal() if first_process else Terminal(quiet=True)

    readiness.require_settings(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.held(workdir, needed=first_process))

        # What it reads.
        mesh = inputs.make_mesh(config)
        preprocessing = starting.preprocessing(config, workdir, preprocessing)
        updates, reloads = optimizer.build(config.optimizer, steps), optimizer.reloads(config)
        dataset = inputs.load(config, workdir, console, preprocessing)
        readiness.require_measurable(config, dataset, console)
        batches, size = inputs.make_batches(config, dataset, workdir), config.train.batch_size
        lengths = batches.seconds("train")
        if preprocessing != workdir:
            readiness.note_lengths(dataset.contract, lengths, preprocessing)

        # What it changes.
        layout = lay_out(config, dataset.contract, updates, mesh)
        definition, state = initialize(config, dataset.contract, updates, layout)
        step = make_train_step(config, definition, updates, mesh, layout)

        # Whatever happens, a checkpoint that is being written gets finished.
        checkpoints = Checkpoints(workdir, config.train.keep_latest)
        stack.callback(checkpoints.close)
        state, pending = starting.start(state, checkpoints, config, dataset, console)
        done = int(state.step)
        if done < steps:
            stream = batches.train("train", size, done, rows=sharding.rows(mesh, size))
            first = next(stream)
            stream = itertools.chain([first], stream)
            console.print("compiling the training step", highlight=False)
            # With what `step` is called with, which finds the program then.
            compiled = step.func.lower(*step.args, state, sharding.put(first, mesh)).compile()
            room.require(config, compiled, batches.remembered_bytes("train", lengths))
            give_back_freed_memory()  # of the compiler
        # After everything that can refuse a config, so that a corrected one is not another run.
        if first_process:
            run_folder.save_run(workdir, config, dataset.contract, dataset.tokenizer)

        # What it reports.
        tracker = trackers.start(config, workdir) if first_process else None
        writer = stack.enter_context(Writer(workdir, done, writes=first_process, tracker=tracker))
        trace = Trace(workdir, profile, console)
        stack.callback(trace.close)
        where = layout.state.params
        validate = run_log.make_validation(config, definition, mesh, where, batches, writer)
        if padding := batches.padding("train", size):
            console.print(padding, highlight=False)
        if not done:
            run_log.introduce(writer, config, first, dataset.contract)
            validate(state)
            give_back_freed_memory()  # of its compilation
        meter = stack.enter_context(Meter("training", steps, "steps", done=done, console=console))
        log = run_log.StepLog(config, workdir, batches, writer, meter, pending)

        interruption = stack.enter_context(distributed.Interruption())
        for number in range(done + 1, steps + 1):
            if number - 1 in reloads:
                state = _reload(state, checkpoints, console)
            trace.advance(state.step)
            state, metrics = step(state, sharding.put(next(stream), mesh))
            log.add(number, metrics)  # which waits for the step before, while this one runs
            if number % config.train.evaluate_every == 0 or number == steps:
                pending = log.settle()
                score, said = validate(state)
                checkpoints.save(state, score, pending)
                console.print(said, highlight=False)
                give_back_freed_memory()  # of the validation
            if number < steps and interruption.asked(number):
                _stop(state, log.settle(), checkpoints, console)
        if tracker:
            writer.conclude(steps, run_log.best_metrics(workdir))
    return run_log.best_metrics(workdir)


def _reload(state: TrainState, checkpoints: Checkpoints, console: Console) -> TrainState:
    """Goes back to the best weights so far; what the optimizer remembers stays.

    This belongs to the step that follows, so a run that stops between the two does it when it goes
    on.
    """
    best, state = checkpoints.restore_best(state)
    console.print(f"step {int(state.step)}: on with the weights of step {best}", highlight=False)
    return state


def _stop(
    state: TrainState, pending: list[dict], checkpoints: Checkpoints, console: Console
) -> NoReturn:
    """Saves and leaves; the same command goes on after this very step."""
    number = int(state.step)
    if checkpoints.latest != number:
        checkpoints.save(state, None, pending)
    console.print(
        f"asked to stop: step {number} is saved in {checkpoints.workdir}; the same command goes on"
        f" there (exit code {distributed.STOPPED})"
    )
    raise SystemExit(distributed.STOPPED)
