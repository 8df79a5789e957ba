"""Figures: what they show, and that they can be drawn whatever became of the runs."""

import numpy as np
import pytest

import hfac
from hfac import plots
from hfac.problems import goal_placement

TAU = 0.03


@pytest.fixture(scope="module")
def swept():
    problem = goal_placement(size=4, landmark=(3, 3), hazard_rows=(1, 2), hazard_columns=(1, 2))
    schedules = hfac.schedules.grid(hfac.schedules.attenuating(), {"upper.scale": [0.01, 1e30]})
    data = hfac.sweep(hfac.algorithms.hfac(problem), schedules, 3, 50, record_at=[0, 10, 50])
    return problem, hfac.judge(data, hfac.metrics.exact(problem, TAU))


def test_diverged_runs_are_counted_in_the_legend(swept):
    problem, data = swept
    figure = plots.objective(data, problem, {TAU: -0.5})
    (axis,) = figure.axes
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["upper 0.01", "upper 1e+30 (3 of 3 diverged)", "exact descent, -0.5000"]
    assert axis.get_xscale() == "log" and "samples" in axis.get_xlabel()
    line = axis.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [20, 100])  # two samples a step; step 0 is left of the log axis
    expected = hfac.statistics.interquartile_mean(data["hyper_objective"].values[0, :, 1:, 0].T)
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)


def test_figures_can_be_drawn_when_every_run_diverged(swept, tmp_path):
    problem, data = swept
    written = plots.save_all(data.isel({"upper.scale": [1]}), problem, {TAU: -0.5}, tmp_path)
    assert [file.name for file in written] == ["objective.png", "grid.png"]


def test_grid_shows_the_best_configuration(swept):
    problem, data = swept
    figure = plots.grid(data, problem, {})
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles[0].startswith("step 0:") and titles[2].startswith("step 50:")
    assert "upper 0.01" in figure.get_supxlabel()
