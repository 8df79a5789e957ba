"""Steps in two parts with a rater on the host between them: the numbers of one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms
from hfac.language.problem import Written
from hfac.types import Status
from support import completions
from support.slow import few

OPTIONS = {"num_prompts": 3, "completions": 4}
SCHEDULES = hfac.schedules.attenuating(upper=0.05, actor=0.5, penalty=1.0, entropy=0.4, offset=100)


class Host:
    """Rates as the problem itself would, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.rate = jax.jit(jax.vmap(self._of_run))

    @staticmethod
    def _of_run(prompt, tokens):
        policy = completions.problem("score", jnp.float32).policy
        scores = [
            completions.score(Written(prompt, each, policy.listed(prompt, each).is_written, ())) for each in tokens
        ]
        return jnp.stack(scores).astype(jnp.float32)

    def __call__(self, asked, keys):
        self.asked.append((asked.step.tolist(), keys.tolist()))
        return np.asarray(self.rate(asked.prompt, asked.tokens))


def problem(leader: str = "policy", host=None):
    """Rated inside a step, or by the host."""
    found = completions.problem(leader, jnp.float32)
    return found if host is None else found._replace(rate=None, host_rate=host)


def swept(made, method: str, num_steps: int = 12, **more):
    algorithm = getattr(algorithms, method)(made, **OPTIONS)
    return hfac.sweep(algorithm, SCHEDULES, seeds=3, num_steps=num_steps, **more)


@pytest.mark.parametrize("method", few(("hfac", "partial", "nested", "decoupled"), "hfac"))
def test_a_host_that_rates_as_the_problem_does_changes_nothing(method):
    """Records, samples and states, whatever the method draws; one question a step for all runs."""
    host = Host()
    inside, states = swept(problem(), method, return_state=True)
    outside, again = swept(problem(host=host), method, return_state=True)
    assert np.array_equal(inside["samples"], outside["samples"])
    for name in ("x.linear", "x.wave"):
        assert np.allclose(inside[name], outside[name], atol=1e-6)
        assert np.abs(outside[name].isel(step=-1) - outside[name].isel(step=0)).max() > 1e-3
    assert np.allclose(states.theta, again.theta, atol=1e-5)
    assert [step for step, _ in host.asked] == [[k] * len(host.asked[0][0]) for k in range(12)]


@pytest.mark.slow
def test_a_run_that_is_cut_goes_on_to_the_same_bits():
    """In pieces of one step, and begun again from a state."""
    whole = swept(problem(host=Host()), "hfac")
    seen = []
    pieces = swept(problem(host=Host()), "hfac", progress=lambda done, total: seen.append(done))
    assert np.array_equal(whole["x.linear"], pieces["x.linear"])
    assert seen[:2] == [0, 1] and seen[-1] == 12


def test_the_bound_of_the_divergence_and_averages_work_too():
    """`max_kl` and `tail_average` wrap the step that is parted."""
    algorithm = algorithms.hfac(problem("score", Host()), max_kl=0.05, tail_average=0.5, **OPTIONS)
    schedules = hfac.schedules.fixed(upper=0.05, actor=0.5, penalty=1.0, entropy=0.05)
    record = lambda state, info, schedules: {"x": state.inner.x, "factor": info.look["tau_factor"]}  # noqa: E731
    data = hfac.sweep(algorithm, schedules, seeds=1, num_steps=40, record=record)
    assert float(data["factor"].isel(step=-1)[0]) > 1.2


def test_a_failing_host_stops_the_sweep_and_a_step_alone_says_why():
    """Its own words; a step of two parts is no function of a state."""

    def fails(asked, keys):
        raise ValueError("the rater is away")

    with pytest.raises(ValueError, match="the rater is away"):
        swept(problem(host=fails), "partial")
    algorithm = algorithms.partial(problem(host=fails), **OPTIONS)
    state = algorithm.init(jax.random.key(0), SCHEDULES)
    with pytest.raises(Exception, match=r"use hfac\.run or hfac\.sweep"):
        algorithm.step(jax.random.key(0), state, SCHEDULES)


def test_one_run_alone_has_a_host_too():
    """`hfac.run`."""
    host = Host()
    state, history = hfac.run(algorithms.partial(problem(host=host), **OPTIONS), hfac.run_key(1), SCHEDULES, 5)
    assert int(state.status) == Status.OK and int(state.step) == 5 and len(host.asked) == 5
    assert history.num_samples.sum() == 5 * 12
