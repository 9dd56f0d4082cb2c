"""Reports side by side: what is compared, what cannot be, and names that are no markup."""

import io
import json

import pytest
from rich.console import Console

from atbert_jax.evaluation import compared_reports
from tests.commands import one_line, run

HOW = {"record_ids": "ab12", "perturbation": "none", "chunks": "of 4 s", "text_column": "text"}


def write(folder, accuracy, *, parameters=10, split="test", how=HOW, **more):
    folder.mkdir(parents=True)
    about = {"model": "atbert", "split": split, "records": 8, "parameters": parameters} | how
    entry = {"accuracy": accuracy, "macro_f1": 0.1, "per_class": {"x": {"f1": 0.5}}}
    systems = {"a: audio": {"accuracy": accuracy, "accuracy_interval": [0.25, 0.75]}}
    values = {
        "loss": 1.0,
        "classification": {"loss": 1.0, "audio": entry},
        "systems": systems,
        "evaluated": about,
    }
    (folder / "metrics.json").write_text(json.dumps(values | more))
    return folder


def compare(*folders, output, metrics=()):
    console = Console(file=io.StringIO(), width=200)
    values = compared_reports.compare(folders, output, metrics, console)
    return values, console.file.getvalue(), (output / "report.html").read_text()


def test_reports_are_one_table_and_a_picture(tmp_path):
    one = write(tmp_path / "[b]one<i>", 0.5)
    other = write(tmp_path / "other" / "report", 0.625, parameters=1000).parent
    values, said, page = compare(one, other, output=tmp_path / "both")
    assert [each["name"] for each in values["runs"]] == ["[b]one<i>", "other"]
    assert "[b]one<i>" in said
    assert "[b]one&lt;i&gt;" in page
    for text in ("classification/audio/accuracy", "0.6250", "0.250 to 0.750", "1,000"):
        assert text in said
        assert text in page
    assert "classification/audio/accuracy and parameters" in page
    assert "macro_f1" not in said
    assert "Not all were measured" not in page
    metrics = ["classification/audio/macro_f1"]
    _, said, _ = compare(one, other, output=tmp_path / "f1", metrics=metrics)
    assert "macro_f1" in said


def test_searches_are_compared_by_the_better_order(tmp_path):
    stages = {"candidates": {"recall_at_10": 0.25}, "chance": {"recall_at_10": 0.1}}
    search = {"clips": 8, "text_to_audio": stages}
    one = write(tmp_path / "one", 0.5, retrieval=search)
    better = stages | {"reranked": {"recall_at_10": 0.375}}
    other = write(tmp_path / "other", 0.5, retrieval=search | {"text_to_audio": better})
    values, said, _ = compare(one, other, output=tmp_path / "both")
    found = [each["metrics"]["text_to_audio/recall_at_10"] for each in values["runs"]]
    assert found == [0.25, 0.375]
    assert "text_to_audio/recall_at_10" in said


def test_other_records_and_old_reports_are_said(tmp_path):
    one, other = write(tmp_path / "one", 0.5), write(tmp_path / "two", 0.5, split="val")
    same, old = write(tmp_path / "same", 0.5), write(tmp_path / "old", 0.5, how={})
    _, said, page = compare(one, other, same, old, output=tmp_path / "all")
    for text in (said, page):
        assert "(one, same: 8 of test, ids ab12; two: 8 of val, ids ab12)" in text
        assert "Of old it is not told" in text
        assert text.count("Not all were measured") == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"record_ids": "cd"}, "on the same records (one: 8 of test, ids ab12; two: 8 of test, "),
        ({"perturbation": "noise:0.4"}, "that were perturbed alike (one: none; two: noise:0.4)"),
        ({"chunks": "of 9 s"}, "in the same chunks (one: of 4 s; two: of 9 s)"),
        ({"text_column": "lyrics"}, "texts of the same column (one: text; two: lyrics)"),
    ],
)
def test_what_was_measured_in_another_way_is_said(tmp_path, changed, said):
    one, two = write(tmp_path / "one", 0.5), write(tmp_path / "two", 0.5, how=HOW | changed)
    _, printed, _ = compare(one, two, output=tmp_path / "both")
    assert said in printed
    assert printed.count("Not all were measured") == 1


def test_where_no_text_is_read_its_column_is_of_no_matter(tmp_path):
    one = write(tmp_path / "one", 0.5)
    other = write(tmp_path / "audio", 0.5, how=HOW | {"text_column": ""})
    assert "Not all were measured" not in compare(one, other, output=tmp_path / "both")[1]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["runs/a/report", "runs/b/report"], ["a", "b"]),
        (["x/seed", "y/seed", "z"], ["x/seed", "y/seed", "z"]),
        (["x", "x/x", "y/x/x"], ["{top}", "{top}/x", "y/x"]),
    ],
)
def test_reports_of_one_name_are_told_apart(tmp_path, given, names):
    folders = [write(tmp_path / each, 0.5, parameters=n + 1) for n, each in enumerate(given)]
    values, _, _ = compare(*folders, output=tmp_path / "out")
    expected = [name.format(top=tmp_path.name) for name in names]
    assert [each["name"] for each in values["runs"]] == expected


def test_a_report_is_never_replaced_by_the_comparison(tmp_path):
    one, other = write(tmp_path / "one", 0.5), write(tmp_path / "two/report", 0.5)
    before = (one / "metrics.json").read_bytes()
    (tmp_path / "link").symlink_to(one)
    for output in (one, tmp_path / "link", other, other.parent):
        with pytest.raises(ValueError, match="would be replaced; name another folder"):
            compare(one, other.parent, output=output)
    with pytest.raises(ValueError, match="is the same report as"):
        compare(other, other.parent, output=tmp_path / "out")
    assert (one / "metrics.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "one", "two"]


def test_what_is_no_report_is_one_line(tmp_path):
    one, two = write(tmp_path / "one", 0.5), write(tmp_path / "two", 0.5)
    result = run("atbert_jax.compare", "--output", tmp_path / "out", one, tmp_path)
    assert f"{tmp_path}: no metrics.json here" in one_line(result)
    with pytest.raises(ValueError, match="two or more"):
        compare(one, output=tmp_path / "out")
    with pytest.raises(ValueError, match="--metrics"):
        compare(one, two, output=tmp_path / "out", metrics=["classification/audio/recall"])
