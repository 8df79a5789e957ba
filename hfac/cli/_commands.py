"""The table of commands: what each is called, who parses it, who runs it, and what can be done with its runs."""

from typing import NamedTuple

GROUPS = {
    "run": "run, go on and grow",
    "look": "look at a run, or ahead of one",
    "tune": "tune and compare",
    "theory": "measure the theory",
}


class Command(NamedTuple):
    """A command; whoever parses it needs no jax until a problem is named; None says that nothing is to be run."""

    name: str
    group: str  # where `hfac --help` lists it, one of `GROUPS`
    help: str
    parse: str  # "module:function" of arguments -> request
    run: str = ""  # "module:function" of what was parsed; whoever parses runs it too unless given
    description: str = ""  # above its options, where a problem is named
    takes_any_kind: bool = False  # of problem; tabular ones alone unless so
    can_resume: bool = False  # whether `hfac resume` and `hfac extend` take its folders
    can_replay: bool = False  # whether `hfac replay` does
    report: str = ""  # "module:function" of what `hfac report` does with its folders; it takes none unless given
    check_growth: str = ""  # "module:function" of (old, new) configurations; that of sweeps unless given


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "sweep",
            "run",
            "run a method over seeds and schedules on a problem",
            "hfac.cli._sweep:request",
            "hfac.cli._sweep_run:execute",
            "Run a method over seeds and schedules on PROBLEM, judge every record exactly, store and draw it.",
            takes_any_kind=True,
            can_resume=True,
            can_replay=True,
            report="hfac.cli._sweep_run:report",
        ),
        Command("resume", "run", "go on with a run that was stopped, to the same numbers", "hfac.cli._resume:resume"),
        Command(
            "extend",
            "run",
            "more seeds, steps or configurations; what is there stays as it is",
            "hfac.cli._resume:extend",
        ),
        Command("merge", "run", "shares of a sweep, run apart with --shard, in one folder", "hfac.cli._merge:main"),
        Command("replay", "look", "one run of a sweep again, and what went wrong in it", "hfac.cli._replay:main"),
        Command(
            "tune",
            "tune",
            "search for a method's settings, on seeds that are never reported",
            "hfac.cli._tune:request",
            "hfac.cli._tune_run:execute",
            "Search for a method's settings on PROBLEM by successive halving, on seeds that are never reported.",
            report="hfac.cli._tune_run:report",
            can_resume=True,
            check_growth="hfac.cli._tune:check_growth",
        ),
        Command(
            "compare",
            "tune",
            "methods tuned alike on the same seeds and samples: table and figures",
            "hfac.cli._compare:request",
            "hfac.cli._compare_run:execute",
            "Tune methods alike on PROBLEM, run them on the same fresh seeds and samples, judge, tabulate, draw.",
            report="hfac.cli._compare_run:report",
            can_resume=True,
            check_growth="hfac.cli._compare:check_growth",
        ),
        Command(
            "rates",
            "theory",
            "measured convergence rates, with intervals, beside the theory's",
            "hfac.cli._rates:request",
            "hfac.cli._rates_run:execute",
            "Measure how fast gradients and residuals fall on PROBLEM, with intervals, beside the theory's exponents.",
            report="hfac.cli._rates_run:report",
            can_resume=True,
            can_replay=True,
        ),
        Command(
            "diagnose",
            "theory",
            "the theory's condition along a run, curvature, and what limits it",
            "hfac.cli._diagnose:parse",
            "hfac.cli._diagnose_run:execute",
            "Look at a run on PROBLEM: the theory's condition along it, the lower level, what limits it.",
            report="hfac.cli._diagnose_run:report",
            can_resume=True,
        ),
        Command(
            "tweets",
            "run",
            "a language model learns to write happy tweets, its reward is learned too",
            "hfac.cli._tweets:request",
            "hfac.cli._sweep_run:execute",
        ),
        Command(
            "finetune",
            "run",
            "a pretrained language model learns from a rater, its reward is learned too",
            "hfac.cli._finetune:request",
            "hfac.cli._sweep_run:execute",
            "Fine-tune MODEL, a folder in Hugging Face's format or a .gguf file: adapters, and a reward that keeps "
            "learning from a rater.",
        ),
        Command(
            "plan",
            "look",
            "what a sweep would cost: runs, bytes, compilations, expected time",
            "hfac.cli._plan:main",
            description="Say what a sweep would cost, without running it: runs, bytes, compilations, expected time.",
            takes_any_kind=True,
        ),
        Command(
            "generate", "look", "what a language model writes, with and without an adapter", "hfac.cli._generate:main"
        ),
        Command("export", "look", "a language model as a folder, an adapter merged into it", "hfac.cli._export:main"),
        Command("render", "look", "an animation of a run's policies, early, midway and late", "hfac.cli._render:main"),
        Command(
            "report", "look", "table, figures and a page to look at of what a folder holds", "hfac.cli._report:main"
        ),
    )
}


def those_that(can: str) -> list[str]:
    """Names of the commands with an ability, such as "can_replay"."""
    return [name for name, command in COMMANDS.items() if getattr(command, can)]
