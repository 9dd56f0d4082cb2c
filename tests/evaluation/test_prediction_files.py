"""What an evaluation says of each record is what `predict` says, in files that hold any name."""

import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from atbert_jax import predict
from atbert_jax.evaluation import evaluate_run, prediction_files
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.evaluation.prediction_files import Told
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.reporting.tables import Sound
from atbert_jax.training import trained
from tests import tiny

ODD = 'a "b", <i>c #1?\r\n%41 é.wav'


def write_manifest(write, task: str) -> Path:
    """Ten clips, of which one test clip has an odd name; of numbers and of tags where asked for."""
    manifest = write(4, 2, 4, seconds=(0.5, 0.8, 1.3))
    table = pd.read_csv(manifest)
    (manifest.parent / "test1.wav").rename(manifest.parent / ODD)
    table.loc[table["id"] == "test1", "path"] = ODD
    if task == "multi_label":
        table["labels"] = table.pop("label") + ["|late" if n % 2 else "" for n in range(len(table))]
    if task == "regression":
        table["pitch"] = np.arange(len(table)) / 4
        table["tempo"] = 3.5
        table.loc[table["id"] == "test2", "pitch"] = None
        table = table.drop(columns="label")
    table.to_csv(manifest, index=False)
    return manifest


@pytest.fixture(params=["single_label", "multi_label", "regression"])
def run(request, tone_manifest, tone_config, tmp_path) -> Path:
    changes = {
        "objectives.classification": 1.0,
        "classification.views": ("audio", "audio_text"),
        "data.task": request.param,
        "data.target_columns": ("pitch", "tempo") if request.param == "regression" else (),
        "normalization": "none",
        "evaluation.batch_size": 4,
    }
    manifest = write_manifest(tone_manifest, request.param)
    tiny.save_run(tmp_path / "run", tone_config(manifest, **tiny.MODEL, **changes))
    return tmp_path / "run"


def evaluate(run: Path, output: Path, **more) -> dict:
    quiet = Console(file=io.StringIO())
    return evaluate_run.evaluate(run, "test", output, with_baseline=False, console=quiet, **more)


def test_they_are_what_predict_says(run, tmp_path):
    output = tmp_path / "reports" / "run"
    values = evaluate(run, output, with_chunk_predictions=True)
    found = pq.read_table(output / "predictions.parquet").to_pylist()
    model = trained.load(run)
    records = dataset.read_splits(model.config.data)[0]["test"][0]
    assert [row["id"] for row in found] == [record.id for record in records]
    assert found[1]["path"] == str(records[1].path)
    assert found[1]["path"].endswith(ODD)
    chunks = pd.read_parquet(output / "chunk_predictions.parquet")
    labels = model.contract.labels
    chosen = predict.chosen(output / "metrics.json") if "chosen" in values else {}
    plain, tuned = (
        list(Predictor(model, chosen=settings).predict(records)) for settings in ({}, chosen)
    )
    assert bool(chosen) == (labels.task == "multi_label")
    for row, record, answer, decided in zip(found, records, plain, tuned, strict=True):
        own = chunks[chunks["id"] == record.id]
        if labels.task == "regression":
            said = {name: row[f"prediction/{name}"] for name in labels.names}
            assert said == pytest.approx(answer.fields["prediction"], abs=1e-5)
            truth = [row[f"truth/{name}"] for name in labels.names]
            # A record that lacks one of several targets is measured by none.
            is_known = not np.isnan(record.targets).any()
            expected = record.targets if is_known else (None, None)
            assert truth == pytest.approx(list(expected), abs=1e-6)
            assert list(own.columns[3:]) == [f"prediction/{name}" for name in labels.names]
            continue
        said = {name: row[f"probability/{name}"] for name in labels.names}
        assert said == pytest.approx(answer.fields["probabilities"], abs=1e-6)
        assert row["prediction"] == answer.fields["prediction"]
        if chosen:
            assert row["prediction_tuned"] == decided.fields["prediction"]
        assert row["truth"] == (sorted(record.labels) if chosen else record.labels[0])
        scores = own[[f"probability/{name}" for name in labels.names]].to_numpy()
        np.testing.assert_allclose(scores, answer.chunk_scores, atol=1e-6)
        assert own["start"].tolist() == [0.5 * n for n in range(len(scores))]


def test_the_csv_holds_the_same(run, tmp_path):
    evaluate(run, tmp_path / "report")
    rows = pq.read_table(tmp_path / "report" / "predictions.parquet").to_pylist()
    table = pd.read_csv(tmp_path / "report" / "predictions.csv", keep_default_na=False)
    assert list(table.columns) == list(rows[0])
    assert len(table) == len(rows)
    for (_, found), expected in zip(table.iterrows(), rows, strict=True):
        for name, value in expected.items():
            wanted = "" if value is None else value
            if isinstance(value, list):
                wanted = "|".join(value) if value else "[]"
            assert found[name] == wanted or float(found[name]) == wanted
    assert not (tmp_path / "report" / "chunk_predictions.csv").exists()


def test_mistakes_can_be_listened_to(run, tmp_path):
    output = tmp_path / "reports" / "run"
    evaluate(run, output)
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<i>c" not in page
    sources = re.findall(r'<audio controls preload="none" src="([^"]*)">', page)
    assert sources
    assert all((output / unquote(source)).is_file() for source in sources)
    assert all(re.fullmatch(r"[\w./~%-]+", source, re.ASCII) for source in sources)


def told(task: str, scores: list, truth: list, **more) -> Told:
    names = tuple("abc"[: len(scores[0])])
    labels = Labels(task, names, **more)
    numbers, scores = np.arange(len(scores)), np.array(scores)
    return Told(labels, numbers, scores, np.array(truth, float), None, scores, numbers)


RECORDS = [Record(f"r{n}", Path(f"/music/{n}.wav")) for n in range(4)]


def listen(record: Record) -> Sound:
    return Sound.of(record, Path("/reports"))


def rows_of(given: Told) -> list[tuple]:
    return [tuple(row[1:]) for row in given.mistakes(RECORDS, listen).rows]


def test_the_worst_mistakes_come_first():
    scores = [[0.1, 0.9, 0], [0.6, 0.4, 0], [0.2, 0.1, 0.7], [0.3, 0.3, 0.4]]
    nan = [np.nan] * 3
    single = told("single_label", scores, [[1, 0, 0], [1, 0, 0], [0, 1, 0], nan])
    assert rows_of(single) == [("r0", "a", "b", 0.9), ("r2", "b", "c", 0.7)]
    tags = told("multi_label", scores, [[0, 1, 0], [0, 0, 0], [1, 1, 0], nan])
    assert rows_of(tags) == [("r2", "b", True, 0.1), ("r1", "a", False, 0.6)]
    numbers = told("regression", [[1, 20], [2, 9]], [[3, 10], [np.nan, 9]], mean=(0, 0), std=(1, 9))
    assert rows_of(numbers) == [("r0", "a", 3, 1)]
    right = told("single_label", scores[:1], [[0, 1, 0]])
    assert right.mistakes(RECORDS, listen) is None


def test_names_that_mean_something_to_a_table_stay_names(tmp_path):
    names = ["a|b", "[live]", 'c"d', "=e", "f\rg", "caf\udce9"]
    cells = [[names[0], names[2]], [names[1]], [names[3], names[4]], [names[5]]]
    prediction_files._write(tmp_path / "odd", {"id": ["1", "2", "3", "4"], "labels": cells})
    found = pd.read_csv(tmp_path / "odd.csv", dtype=str)["labels"]
    assert json.loads(found[0]) == cells[0]
    assert json.loads(found[1]) == cells[1]
    assert found[2] == "=e|f\rg"
    assert found[3] == "caf\\udce9"
    whole = pq.read_table(tmp_path / "odd.parquet").to_pylist()
    assert [row["labels"] for row in whole] == [*cells[:3], ["caf\\udce9"]]


def read_back(cell: str) -> list[str] | None:
    """As the documentation says that tags are."""
    if not cell:
        return None
    return json.loads(cell) if cell.startswith("[") else cell.split("|")


def test_any_tags_are_read_back_from_csv(tmp_path):
    cells = [
        ["a", "b"],
        [],
        None,
        ["a|b"],
        ["|"],
        ["[]"],
        ['say "x"', "a,b", "line\nline", "cr\r\nlf", " outer "],
        ["=1+1", "@x", "-2", "+3"],
        ["NA"],
        ["1.0"],
        ["null", "None"],
    ]
    names = [str(number) for number in range(len(cells))]
    prediction_files._write(tmp_path / "odd", {"id": names, "truth": cells})
    found = pd.read_csv(tmp_path / "odd.csv", keep_default_na=False, dtype=str)
    assert [read_back(cell) for cell in found["truth"]] == cells
    with (tmp_path / "odd.csv").open(encoding="utf-8", newline="") as file:
        assert [read_back(row["truth"]) for row in csv.DictReader(file)] == cells
    assert [row["truth"] for row in pq.read_table(tmp_path / "odd.parquet").to_pylist()] == cells
