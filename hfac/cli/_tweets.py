"""``hfac tweets``, short for ``hfac sweep tweets``: a language model learns to write happy tweets."""

import dataclasses
import operator
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro

from hfac._errors import InputError, as_input_error
from hfac._registry import find
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import _config, _sweep, parse
from hfac.cli._request import Request
from hfac.cli._values import Count, Numbers
from hfac.tweets.options import DEFAULTS, METHODS, PRESETS, Method, Options, check

PROBLEM, KIND = "tweets", "sequences"
DESCRIPTION = (
    "Pretrain a small decoder on tweets, then let a leader design the reward that it is trained on: samples before and "
    "after, curves, and what the learned reward asks for. Short for `hfac sweep tweets`. "
    "--algorithm NAME --help adds that method's options. --config FILE sets defaults that flags override."
)


@dataclasses.dataclass(frozen=True)
class Tweets(_config.as_flags(Options), _sweep.Sweep):  # type: ignore[misc]
    """Settings of the experiment: those of a sweep, and what is learned from what."""

    algorithm: Method = "hfac"
    """hfac, partial (ordinary online RLHF), decoupled (reward first, then policy) or nested."""
    preset: Literal["small", "large"] = "small"  # type: ignore[assignment]
    """Size of decoder, vocabulary and tweets: small runs on two CPU cores, large is meant for one GPU."""
    steps: Count = DEFAULTS["steps"]
    """Steps of every run, >= 1; one writes 64 tweets."""
    seeds: Count = DEFAULTS["seeds"]
    """Number of seeds, >= 1."""
    judge: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the run's last tau)")] = ()
    """Weight tau of the divergence at which rewards are judged, > 0."""
    record: Literal["x", "policies"] = "x"  # type: ignore[assignment]
    """What is kept at every record point: rewards and tweets, or also the parameters of all decoders."""


def request(args: Sequence[str]) -> Request | None:
    """The request of ``hfac sweep tweets`` that is meant.

    Raises:
      InputError: if something is wrong with it.
    """
    path, rest = _config.take(list(args), "--config")
    loaded = {} if path is None else _config.read_file(path)
    if isinstance(loaded.get("problem_options"), dict):  # as a run of the long form is stored
        loaded = loaded | loaded.pop("problem_options")
        loaded.pop("preset", None)
    loaded = _sweep.loadable(loaded, Tweets)
    if loaded.pop("problem", PROBLEM) != PROBLEM:
        raise InputError("--config: is about another problem; `hfac sweep --config` runs it")
    plain, nested = _config.apply_file(loaded, Tweets, ("algorithm_options",))
    rest = _config.gathered(rest, _config.list_flags(Tweets))
    switches = _config.switches_of(typing.get_type_hints(Tweets))
    preset = _config.last(rest, "--preset") or plain.get("preset", "small")
    algorithm = _config.last(rest, "--algorithm") or plain.get("algorithm", "hfac")
    defaults = Tweets(**{**PRESETS.get(preset, {}), **plain})
    fields: list[Any] = [
        ("settings", operator.getitem(tyro.conf.OmitArgPrefixes, Tweets), dataclasses.field(default=defaults))
    ]
    is_quick = any(arg in ("-h", "--help") for arg in rest) and "--algorithm" not in rest  # help without jax
    if algorithm in METHODS and not is_quick:
        builder = find(ALGORITHMS, algorithm, "algorithm")
        from hfac import recommended

        known = recommended.options(PROBLEM, algorithm)
        given = _config.typed_table("algorithm_options", nested["algorithm_options"], builder, KIND)
        options = _config.options_class(builder, "algorithm_options", known | given, KIND)
        switches |= _config.switches_of(_config.option_hints(builder, KIND), "algorithm.")
        flag = tyro.conf.arg(name="algorithm")
        fields.append(
            ("algorithm_options", operator.getitem(Annotated, (options, flag)), dataclasses.field(default=options()))
        )
    _config.refuse_values_of_switches(rest, switches)
    parsed = parse(dataclasses.make_dataclass("Settings", fields), rest, "hfac tweets", DESCRIPTION)
    chosen = {field.name: getattr(parsed.settings, field.name) for field in dataclasses.fields(Options)}
    with as_input_error():
        check(Options(**chosen))
    shared = {field.name: getattr(parsed.settings, field.name) for field in dataclasses.fields(_sweep.Sweep)}
    settings = _sweep.Sweep(**shared | {"preset": None})
    check_settings(settings)
    return Request(PROBLEM, settings, Options(**chosen), getattr(parsed, "algorithm_options", None), "sweep")


def check_settings(settings: _sweep.Sweep) -> None:
    """Raise `InputError` unless the settings of the sweep are in range."""
    _sweep.check_sweep(settings)
    if len(settings.judge) > 1:
        raise InputError(f"--judge takes one weight here, got {len(settings.judge)}")
