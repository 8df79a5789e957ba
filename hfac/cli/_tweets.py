"""``hfac tweets``: a language model learns to write happy tweets while its reward is learned too."""

import dataclasses
import operator
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac import _files
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import InputError, _config, _sweep, parse
from hfac.cli._request import Request
from hfac.cli._values import Count, Numbers
from hfac.tweets.options import METHODS, PRESETS, Method, Options

KIND = "sequences"  # of the lower level
DESCRIPTION = (
    "Pretrain a small decoder on tweets, then let a leader design the reward that it is trained on: samples before and "
    "after, curves, and what the learned reward asks for. "
    "--algorithm NAME --help adds that method's options. --config FILE sets defaults that flags override."
)


@dataclasses.dataclass(frozen=True)
class Tweets(Options, _sweep.Sweep):
    """Settings of the experiment: those of a sweep, and what is learned from what."""

    algorithm: Method = "hfac"
    """hfac, partial (ordinary online RLHF), decoupled (reward first, then policy) or nested."""
    preset: Literal["small", "large"] = "small"  # type: ignore[assignment]
    """Size of decoder, vocabulary and tweets: small runs on two CPU cores, large is meant for one GPU."""
    steps: Count = 1_500
    """Steps of every run, >= 1; one writes 64 tweets."""
    seeds: Count = 1
    """Number of seeds, >= 1."""
    judge: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the run's last tau)")] = ()
    """Weight tau of the divergence at which rewards are judged, > 0."""
    record: Annotated[Literal["x", "tables"], tyro.conf.Suppress] = "x"
    """Rewards and tweets are kept."""


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request:
    """Parse all that needs no run; flags override what is stored.

    Raises:
      InputError: if something is wrong with it.
    """
    path, rest = _config.take(list(args), "--config")
    loaded = dict(stored or {}) | ({} if path is None else _config.read_file(path))
    loaded = _sweep.loadable(loaded, Tweets)
    loaded.pop("problem", None)
    plain, nested = _config.apply_file(loaded, Tweets, ("algorithm_options",))
    rest = _config.gathered(rest, Tweets)
    switches = _config.switches_of(typing.get_type_hints(Tweets))
    preset = _config.take(list(rest), "--preset")[0] or plain.get("preset", "small")
    algorithm = _config.take(list(rest), "--algorithm")[0] or plain.get("algorithm", "hfac")
    defaults = Tweets(**{**PRESETS.get(preset, {}), **plain})
    fields: list[Any] = [
        ("settings", operator.getitem(tyro.conf.OmitArgPrefixes, Tweets), dataclasses.field(default=defaults))
    ]
    is_quick = any(arg in ("-h", "--help") for arg in rest) and "--algorithm" not in rest  # help without jax
    if algorithm in METHODS and not is_quick:
        builder = _config.lookup(ALGORITHMS, algorithm, "algorithm")
        from hfac import recommended

        known = recommended.options("tweets", algorithm)
        given = _config.typed_table("algorithm_options", nested["algorithm_options"], builder, KIND)
        options = _config.options_class(builder, "algorithm_options", known | given, KIND)
        switches |= _config.switches_of(_config.option_hints(builder, KIND), "algorithm.")
        flag = tyro.conf.arg(name="algorithm")
        fields.append(
            ("algorithm_options", operator.getitem(Annotated, (options, flag)), dataclasses.field(default=options()))
        )
    _config.refuse_values_of_switches(rest, switches)
    parsed = parse(dataclasses.make_dataclass("Settings", fields), rest, "hfac tweets", DESCRIPTION)
    _check(parsed.settings)
    chosen = getattr(parsed, "algorithm_options", None)
    return Request("tweets", parsed.settings, None, chosen, "tweets")


def _check(settings: Tweets) -> None:
    _sweep.check_sweep(settings)
    if (settings.shard or settings.distributed or settings.coordinator) and settings.pretrained is None:
        raise InputError("shares start from one decoder: give --pretrained DIR, the folder of a finished `hfac tweets`")
    if len(settings.judge) > 1:
        raise InputError(f"--judge takes one weight here, got {len(settings.judge)}")
    if settings.rater == "people" and settings.ratings is None:
        raise InputError("--rater people needs --ratings: people's preferences are learned from them")
    for name in ("vocabulary", "length", "layers", "width", "heads", "epochs"):
        if getattr(settings, name) < 1:
            raise InputError(f"--{name} must be at least 1, got {getattr(settings, name)}")
    if settings.width % settings.heads:
        raise InputError(f"--width must be a multiple of --heads = {settings.heads}, got {settings.width}")
    if settings.ridge < 0:
        raise InputError(f"--ridge must be at least 0, got {settings.ridge:g}")
    for name in ("corpus", "ratings"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            raise InputError(f"--{name} {_files.shown(path)}: there is no such file")
