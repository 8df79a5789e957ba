import numpy as np
import pytest

from hfac.statistics import Interval, bootstrap, format_interval, interquartile_mean, paired_difference

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0], 1.5),
        ([4.0, 1.0, 3.0, 2.0], 2.5),  # the middle two
        ([0, 1, 2, 3, 4, 5, 6, 100], 3.5),  # 2 .. 5
        # 5 values: the middle half is 2.5 values, 0.75 of the second, all of the third, 0.75 of the fourth
        ([0.0, 1.0, 2.0, 4.0, 9.0], (0.75 * 1 + 2 + 0.75 * 4) / 2.5),
        ([1.0, 2.0, 3.0, INF], 2.5),  # one diverged run in four is cut off
        ([1.0, 2.0, 3.0, NAN], 2.5),
        ([-INF, 2.0, 3.0, INF], 2.5),
        ([1.0, 2.0, INF, INF], INF),
        ([1.0, NAN, NAN, NAN], INF),
        ([1.0, 2.0, 3.0, 4.0, INF], (0.75 * 2 + 3 + 0.75 * 4) / 2.5),
    ],
)
def test_by_hand(values, expected):
    assert interquartile_mean(np.array(values, float)) == pytest.approx(expected, rel=1e-14)  # rounding


def test_the_last_axis_is_the_seeds():
    values = np.arange(24.0).reshape(3, 8)[:, ::-1]
    np.testing.assert_allclose(interquartile_mean(values), [3.5, 11.5, 19.5], rtol=1e-14)  # rounding


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_covers(level):
    # The normal's interquartile mean is its mean.
    samples = np.random.default_rng(1).normal(2.0, 1.0, (200, 40))
    intervals = [bootstrap(row, level=level, num_resamples=100) for row in samples]
    covers = np.mean([low <= 2.0 <= high for _, low, high in intervals])
    # Five standard errors of 200 coin flips, and 0.04 that a percentile interval of 40 seeds falls short.
    assert abs(covers - level) < 5 * np.sqrt(level * (1 - level) / 200) + 0.04
    assert all(low <= estimate <= high for estimate, low, high in intervals)


def test_the_interval_is_reproducible_and_shares_seeds_between_rows():
    row = np.random.default_rng(2).normal(size=12)
    first, again = bootstrap(row), bootstrap(row)
    assert first == again
    both = bootstrap(np.stack([row, row + 1]))
    np.testing.assert_allclose(both.low, [first.low, first.low + 1], rtol=1e-12)  # rounding of the shift
    assert first.estimate == interquartile_mean(row)
    assert bootstrap(np.full(5, 1.5)) == Interval(1.5, 1.5, 1.5)
    assert bootstrap(np.arange(8.0), np.mean).estimate == 3.5


def test_one_seed_has_no_interval():
    """It says nothing about other seeds: a point would look like certainty."""
    one = bootstrap(np.array([[1.5], [2.5]]))
    np.testing.assert_array_equal(one.estimate, [1.5, 2.5])
    assert np.isnan(one.low).all() and np.isnan(one.high).all()
    assert str(bootstrap(np.array([1.5]))) == "1.5000 [one run]"
    assert bootstrap(np.array([NAN])).format() == "diverged"
    assert paired_difference(np.array([3.0]), np.array([1.0])).format(1) == "2.0 [one run]"


def test_a_diverged_run_reaches_the_interval_before_the_estimate():
    estimate, low, high = bootstrap(np.array([1.0, 2.0, 3.0, INF]))
    assert (estimate, high) == (2.5, INF)
    assert 1 <= low <= 2.5
    assert str(bootstrap(np.array([1.0, INF, INF, NAN]))) == "diverged"


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((1.23456, 1.0, 1.5), "1.2346 [1.0000, 1.5000]"),
        ((2.5, 1.0, INF), "2.5000 [1.0000, inf]"),
        ((INF, 1.0, INF), "diverged"),
        ((NAN, NAN, NAN), "diverged"),
    ],
)
def test_intervals_are_written_out(interval, text):
    assert format_interval(*interval) == text
    assert str(Interval(*map(np.float64, interval))) == text


def test_differences_are_paired():
    rng = np.random.default_rng(3)
    luck = rng.normal(scale=100.0, size=20)
    first, second = luck + 0.5 + 0.01 * rng.normal(size=20), luck
    estimate, low, high = paired_difference(first, second)
    # The luck of a seed cancels: 0.5 within five standard errors of 0.01 / sqrt 20, times 1.3 for the trimming.
    assert estimate == pytest.approx(0.5, abs=5 * 1.3 * 0.01 / np.sqrt(20))
    assert low < estimate < high < low + 0.03


def test_diverged_pairs():
    # differences 0 (both diverged), inf, -inf and 1: the middle half is 0 and 1
    assert paired_difference([INF, NAN, 1.0, 3.0], [NAN, 5.0, INF, 2.0]).estimate == 0.5
    assert paired_difference([INF] * 4, [INF] * 4) == Interval(0, 0, 0)
    assert paired_difference([1.0] * 4, [INF] * 4).estimate == -INF


def test_differences_with_divergences_on_both_sides_have_an_interval():
    # Some resamples hold -inf and inf in their middle half; they are no reason for a nan or a warning.
    estimate, low, high = paired_difference([INF, 1.0, 1.0, 1.0], [1.0, INF, 0.5, 0.0])
    assert estimate == 0.75
    assert (low, high) == (-INF, INF)
