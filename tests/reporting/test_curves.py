"""Curves are PNGs that change with their data, in any alphabet, and refuse what does not fit."""

import io

import pytest
from matplotlib import image

from atbert_jax.metrics.calibration import calibration
from atbert_jax.reporting import curves

pytestmark = pytest.mark.filterwarnings("error")


def is_picture(png):
    return image.imread(io.BytesIO(png), format="png").std() > 0.01


def test_a_label_curve_changes_with_its_points():
    systems = {"発 $x$": [(0.4, (0.3, 0.5)), (0.7, (0.6, 0.8))], "MFCC": [(0.2, (0.1, 0.3))] * 2}
    first = curves.label_curve([1, 40], ["1", "all"], systems, 0.25)
    assert is_picture(first)
    wider = systems | {"MFCC": [(0.2, (0.0, 0.4))] * 2}
    assert first != curves.label_curve([1, 40], ["1", "all"], wider, 0.25)
    with pytest.raises(ValueError, match="'MFCC' has 2 points for 1 counts"):
        curves.label_curve([1], ["1"], {"MFCC": systems["MFCC"]}, 0.25)


def test_a_scatter_changes_with_its_points():
    first = curves.scatter({"a": (10, 0.5), "発": (1e6, 0.7)}, "parameters", "accuracy")
    assert is_picture(first)
    assert first != curves.scatter({"a": (10, 0.5), "発": (1e7, 0.6)}, "parameters", "accuracy")
    with pytest.raises(ValueError, match="no accuracy to draw"):
        curves.scatter({}, "parameters", "accuracy")


def test_reliability_changes_with_its_bins():
    first = curves.reliability(calibration([0.1, 0.9, 1.0], [0, 1, 1])["bins"])
    assert is_picture(first)
    assert first != curves.reliability(calibration([0.1, 0.9, 1.0], [1, 1, 1])["bins"])
    with pytest.raises(ValueError, match="no bin"):
        curves.reliability([])
