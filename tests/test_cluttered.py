"""Digits behind clutter: what is covered, that it is random and repeatable, and that it tells nothing of the label."""

import math

import numpy as np
import pytest

import miest
from miest import datasets
from miest.datasets import cluttered, cluttered_digits


def blank(n=50, height=9, width=7):
    return np.zeros((n, height, width), np.uint8), np.arange(n) % 10


# exact


def test_squares_are_where_the_corners_say():
    x, y = blank(3)
    found = cluttered(x, y, squares=2, size=3, value=7)
    for image, which in zip(found.x, found.clutter, strict=True):
        expected = np.zeros((9, 7), np.uint8)
        for row, column in found.corners[which]:
            expected[row : row + 3, column : column + 3] = 7
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(found.patterns[which], expected > 0)


def test_pixels_beside_the_squares_stay_and_the_images_given_too():
    x, y = datasets.load("digits")
    before = x.copy()
    found = cluttered(x, y, squares=3, size=2)
    covered = found.patterns[found.clutter]
    np.testing.assert_array_equal(found.x[~covered], x[~covered])
    assert (found.x[covered] == 16).all()
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(found.y, y)
    assert found.x.dtype == np.uint8


def test_a_square_as_large_as_the_image_covers_it():
    x, y = blank(2, 4, 4)
    assert (cluttered(x, y, squares=1, size=4, value=1).x == 1).all()


# properties


def test_the_same_seed_gives_the_same_clutter_however_many_images_there_are():
    x, y = blank()
    for kinds in (None, 5):
        one, again, other = (cluttered(x, y, kinds=kinds, size=2, value=9, seed=s) for s in (3, 3, 4))
        np.testing.assert_array_equal(one.x, again.x)
        assert (one.x != other.x).any()
        few = cluttered(x[:10], y[:10], kinds=kinds, size=2, value=9, seed=3)
        np.testing.assert_array_equal(few.x, one.x[:10])
        np.testing.assert_array_equal(few.clutter, one.clutter[:10])


def test_kinds_are_as_many_as_asked_for_and_each_has_one_pattern():
    x, y = blank(400)
    found = cluttered(x, y, squares=2, size=2, kinds=6, value=1)
    assert found.patterns.shape == (6, 9, 7)
    assert len(np.unique(found.x.reshape(400, -1), axis=0)) == 6
    counts = np.bincount(found.clutter, minlength=6)
    assert ((counts - 400 / 6) ** 2 / (400 / 6)).sum() < 20.5  # chi-square, 5 degrees of freedom, 0.001
    each = cluttered(x, y, squares=2, size=2, value=1)
    np.testing.assert_array_equal(each.clutter, np.arange(400))
    assert len(each.patterns) == 400


def test_places_are_equally_likely():
    x, y = blank(6000, 4, 5)
    corners = cluttered(x, y, squares=1, size=2, value=1).corners[:, 0]
    counts = np.bincount(corners[:, 0] * 4 + corners[:, 1], minlength=12)
    assert ((counts - 500) ** 2 / 500).sum() < 31.3  # 11 degrees of freedom, 0.001


def test_both_splits_have_the_same_kinds():
    train, test = (cluttered_digits("digits", split, squares=2, size=2, kinds=4, seed=1) for split in ("train", "test"))
    np.testing.assert_array_equal(train.patterns, test.patterns)
    assert cluttered_digits("digits", n=20, size=2).x.shape == (20, 8, 8)


# truth


def test_clutter_tells_nothing_of_the_digit_and_the_image_tells_all_of_it():
    found = cluttered_digits("digits", squares=2, size=2, kinds=8)
    assert not miest.PlugIn().estimate(found.clutter, found.y).value > 0.05
    shown = miest.PlugIn().estimate(found.patterns[found.clutter].reshape(len(found.y), -1), found.clutter)
    assert shown.value == pytest.approx(math.log(8), abs=0.02)


# refusals


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"x": np.zeros((3, 4))}, r"x has shape \(3, 4\) and must be \(n, height, width\)"),
        ({"y": np.zeros(3)}, r"y of shape \(3,\), float64, must be one integer for each of 3 images"),
        ({"y": np.zeros(2, int)}, r"y of shape \(2,\)"),
        ({"size": 5}, r"size=5 does not fit into images of 4 x 6 pixels"),
        ({"squares": 0}, r"squares=0 must be an integer of at least 1"),
        ({"kinds": 0}, r"kinds=0 must be an integer of at least 1"),
        ({"value": 300}, r"value=300 is no uint8"),
        ({"value": 0.5}, r"value=0.5 is no uint8"),
    ],
)
def test_what_cannot_be_cluttered_is_refused(changed, says):
    given = {"x": np.zeros((3, 4, 6), np.uint8), "y": np.zeros(3, int), "size": 2}
    with pytest.raises(ValueError, match=says):
        cluttered(**{**given, **changed})
