"""Problems, methods and environments of a person's own file, by name on the command line: FILE.py:BUILDER."""

import json
import sys

import numpy as np
import pytest

import hfac
from hfac.cli import main

PROBLEM = """
import jax.numpy as jnp
import numpy as np

import hfac
import pay

def lane(size: int = 4, bonus_cost: float = 0.1) -> hfac.Problem:
    \"\"\"A lane with a wage at its start.

    Args:
      size: number of cells.
      bonus_cost: per unit of bonus.
    \"\"\"
    moves = np.stack([np.maximum(np.arange(size) - 1, 0), np.minimum(np.arange(size) + 1, size - 1)], axis=1)
    mdp = hfac.mdp.from_successors(moves[:, :, None], np.ones((size, 2, 1)), np.full(size, 1 / size), 0.9)

    def reward(x, s, a, s_next):
        return jnp.where(s_next == 0, pay.WAGE, 0.0) + jnp.tanh(x[s_next])

    def cost(x, s, a, s_next):
        return bonus_cost * jnp.tanh(x[s_next]) - jnp.where(s_next == size - 1, 1.0, 0.0)

    return hfac.Problem(mdp=mdp, reward=reward, cost=cost, init_x=lambda key: jnp.zeros(size), reward_bound=2.0,
                        cost_bound=1.5, name="lane")

built = lane()

def unannotated():
    from hfac.control import tabular
    return tabular(lane(), observe="one_hot")

def broken() -> hfac.Problem:
    return lane() + missing

def slow(problem, *, share: float = 0.5, **options):
    return hfac.algorithms.partial(problem, **options)

nothing = 3
"""

BOAT = """
import jax
import jax.numpy as jnp
from hfac.control import Box, Discrete, Environment, Step

def drift() -> Environment:
    def reset(key):
        obs = jax.random.uniform(key, (1,))
        return obs, obs

    def step(key, state, action):
        after = state + jnp.where(action == 1, 0.05, -0.05)
        return Step(after, after, -jnp.abs(after[0]), jnp.abs(after[0]) > 2, jnp.array(False))

    def draw(axes, state):
        axes.plot(state.no_such, 0)

    return Environment(reset, step, Box([-3.0], [3.0]), Discrete(2), limit=20, name="drift", draw=draw)
"""


@pytest.fixture(autouse=True)
def files(here, monkeypatch):
    """Somebody's files, in the folder where they are at work; a process of its own would know no others."""
    (here / "pay.py").write_text("WAGE = 0.2\n")
    (here / "own.py").write_text(PROBLEM)
    (here / "boats.py").write_text(BOAT)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("pay", "own"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def ran(*args: str) -> None:
    main(list(map(str, args)))


def refusal(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        ran(*args)
    assert stop.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith(f"hfac {args[0]}: error: ")
    return last


def test_a_problem_of_ones_own_file_is_swept_extended_and_reported_from_every_folder(here, capsys, monkeypatch):
    """Its options are flags, and its name is the folder's."""
    ran("sweep", "own.py:lane", "--problem.bonus-cost", "0.1", "0.2", "--steps", "50", "--seeds", "1", "--no-figures")
    folder = here / "runs" / "lane-001"
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    ran("extend", folder, "--seeds", "2")
    ran("report", folder, "--html")
    assert "<title>hfac on lane" in (folder / "report.html").read_text()
    data = hfac.results.load(folder)
    assert data.attrs["problem"] == "lane"
    assert data.sizes["seed"] == data.sizes["problem.bonus_cost"] == 2
    job = hfac.runs.job(f"{here}/own.py:lane", steps=50, seeds=2, problem_options={"bonus_cost": 0.2})
    again = hfac.runs.start(job, here / "again")
    assert np.allclose(again["x"], data["x"].sel({"problem.bonus_cost": 0.2}), atol=1e-6)


def test_what_is_built_is_a_problem_too_and_so_is_one_of_a_module(here):
    """`built` takes no options; a module is found in the folder in which somebody works."""
    for number, place in enumerate(("own.py:built", "own:lane")):
        ran("sweep", place, "--steps", "20", "--seeds", "1", "--no-figures", "--out", f"o{number}")
    first, second = (hfac.results.load(here / f"o{number}")["x"].values for number in range(2))
    assert (first == second).all()


def test_a_method_of_ones_own(here):
    """Its options are flags."""
    ran("sweep", "goal_placement", "--algorithm", "own.py:slow", "--algorithm.share", "0.25", "--steps", "20",
        "--seeds", "1", "--no-figures", "--out", "m")  # fmt: skip
    ran("resume", "m")
    content = json.loads((here / "m" / "config.json").read_text())
    assert content["algorithm"] == f"{here}/own.py:slow" and content["algorithm_options"]["share"] == 0.25


def test_a_file_that_has_changed_is_another_problem(here, capsys):
    """Runs are not continued with it."""
    ran("sweep", "own.py:lane", "--steps", "20", "--seeds", "1", "--no-figures", "--out", "r")
    (here / "own2.py").write_text(PROBLEM.replace("pay.WAGE", "2 * pay.WAGE"))
    path = here / "r" / "config.json"
    path.write_text(path.read_text().replace("own.py", "own2.py"))  # as if the file itself had been edited meanwhile
    before = path.read_bytes()
    assert "another problem: reward differs" in refusal(capsys, "extend", "r", "--seeds", "2")
    assert path.read_bytes() == before


REFUSED = {
    "own.py:lne": "it has no 'lne'; did you mean 'lane'?",
    "onw.py:lane": "there is no such file",
    "nomodule:lane": "there is no module of that name",
    "own.py:nothing": "must be one, or a function that builds one, got 3",
    "own.py:slow": "slow() missing 1 required positional argument: 'problem'",
    "own.py:unannotated": "does not say what it makes; annotate it as -> ControlProblem",
    "own.py:broken": "NameError: name 'missing' is not defined (own.py:",
    "bad.py:lane": "cannot be imported: SyntaxError",
    "raises.py:lane": "cannot be imported: ZeroDivisionError: division by zero (raises.py:2: 1 / 0)",
}


@pytest.mark.parametrize("place", REFUSED)
def test_a_place_without_a_problem_is_one_line(here, capsys, place):
    """Nothing is written."""
    (here / "bad.py").write_text("def lane(:\n")
    (here / "raises.py").write_text("\n1 / 0\n")
    before = set(here.iterdir())
    assert REFUSED[place] in refusal(capsys, "sweep", place, "--steps", "10")
    assert {path for path in here.iterdir() if path.name != "__pycache__"} <= before


def test_searches_take_methods_of_the_library(here, capsys):
    """A method of one's own has no axes that are known."""
    assert "takes methods of the library" in refusal(capsys, "tune", "goal_placement", "--algorithm", "own.py:slow")


@pytest.mark.slow
def test_an_environment_of_ones_own_and_a_mistake_in_its_drawing(here, capsys):
    """It is that of a problem of the library; a mistake is one line that names the person's own."""
    ran("sweep", "reward_design", "--problem.environment", "boats.py:drift", "--steps", "2", "--seeds", "1",
        "--no-figures", "--record", "policies", "--out", "d")  # fmt: skip
    assert float(hfac.results.load(here / "d")["return"].isel(step=-1).mean()) < 0
    assert "'no_such' (boats.py:" in refusal(capsys, "render", "d")
