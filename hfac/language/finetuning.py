"""Fine-tuning as a problem: from files and options to a decoder with adapters, prompts, a rater and a leader."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac import _checks, algorithms, options
from hfac._compiler import random
from hfac.judging import OBJECTIVE, Judge, Metric, check_taus
from hfac.language import adapters, completing, folders, models, policies, raters, rewards
from hfac.language import prompts as _prompts
from hfac.language.problem import Anchors, CompletionProblem, Written
from hfac.language.prompts import Prompt
from hfac.language.ratings import Ratings
from hfac.language.tokens import Tokenizer
from hfac.types import Algorithm, Key, PyTree, Shared, core

MAX_GRADIENT = 1.0  # Euclidean norm that every direction is clipped to
MOMENTS = (0.5, 0.95)  # of Adam: runs are short, and a policy that answers late overshoots its bound
PER_DOUBLING = 16  # record points
SLOPE = 2.46  # log-odds of a preference per unit of VADER's compound, fitted on pairs of real tweets
RATINGS = "ratings.jsonl"
SHOWN = (
    *("reward", "score_0", "score_1", "divergence_0", "divergence_1"),
    *("accuracy", "distinct", "length", "tau_factor", "loss"),
)


def finetune(
    model: Path | None = None,
    prompts: Path | None = None,
    preferences: Path | None = None,
    adapter: Path | None = None,
    rater: str = "vader",
    ratings: Path | None = None,
    leader: Literal["preference", "score"] = "preference",
    pairs: Literal["anchored", "policy"] = "anchored",
    num_anchors: int = 16,
    slope: float | None = None,
    ridge: float = 0.1,
    first_reward: Literal["fitted", "zero"] = "fitted",
    length: int = 12,
    longest_prompt: int = 128,
    temperature: float = 1.0,
    lora_rank: int = 8,
    lora_alpha: float = 16.0,
    lora_targets: str = "q,k,v,o",
    lora_layers: str = "last:8",
    reward_lora: bool = False,
    rater_timeout: float = 600.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
    model_seed: int = 0,
    kept: Any = None,
) -> "Finetuning":
    """Fine-tune a pretrained decoder: a leader learns a reward from a rater, adapters learn to please it.

        preference: f(x, pi) = E[ log-loss of R_x on preferences between completions of one prompt ] + ridge/2 |x|^2
        score:      f(x, pi) = -E[ score of a completion ] + ridge/2 |x|^2

    R_x is linear in the mean, over a completion, of the base's normalised hidden states where the adapters begin, or of
    the last layer's, which adapters of its own change.

    Args:
      model: folder in Hugging Face's format, or a .gguf file.
      prompts: JSON a line with prompt or messages, or one text a line.
      preferences: JSON a line with prompt, chosen and rejected; these completions are anchors, the prompts are added.
      adapter: folder of an adapter to go on from, which is the reference too; new ones unless given.
      rater: vader; people, fitted to rated texts; FILE.py:FUNCTION of texts and their records; or "command:WORDS",
        which reads and writes JSON a line.
      ratings: tab-separated file of texts that people rated (id, ratings, text), for people.
      leader: it wants its reward to predict preferences, or high scores.
      pairs: preferences compare a completion with anchors of its prompt, or with others of the policy.
      num_anchors: completions of the base for every prompt that has no preferences.
      slope: log-odds of a preference per unit of score, > 0; 2.46, or 1 with people, whose scores are log-odds.
      ridge: weight of |x|^2 / 2, >= 0; R_x has hundreds of weights, and a few hundred completions to learn them from.
      first_reward: fitted to preferences among the anchors of each prompt, or zero; zero where there are none.
      length: tokens of a completion, at most.
      longest_prompt: tokens that a prompt may have.
      temperature: of every policy, > 0.
      lora_rank: of the adapters.
      lora_alpha: what they add is scaled by alpha / rank.
      lora_targets: projections among q, k, v, o, gate, up, down; PEFT's q_proj is q.
      lora_layers: all, last:N, or numbers from 0 and ranges such as 4,10-12.
      reward_lora: the reward has adapters of its own, in the same places.
      rater_timeout: seconds that a call of the rater may take.
      dtype: of the base's weights.
      model_seed: of new adapters and of the base's anchors.
      kept: folder of a run that goes on: what was rated in it is not rated again.

    Raises:
      ValueError: if a file is not what it should be, or options do not go together.
    """
    lora_targets = ",".join(each.strip().removesuffix("_proj") for each in lora_targets.split(","))
    given = dict(locals())
    _check(given)
    assert model is not None
    base = models.load(model, jnp.dtype(dtype))
    tokenizer = models.load_tokenizer(model, base)
    asked, liked = _beginnings(prompts, preferences, tokenizer, longest_prompt)
    judge = raters.make(rater, rater_timeout, ratings)
    rated = Ratings(judge, tokenizer.decode, [each.record for each in asked], raters.version(rater))
    if kept is not None:
        rated.open(kept / RATINGS)
    policy = _policy(base, tokenizer, asked, given)
    reward = rewards.make(policy, reward_lora)
    problem = CompletionProblem(
        policy,
        reward.features,
        reward,
        reward.init,
        host_rate=rated,
        leader=leader,
        slope=_slope(slope, rater),
        h=(lambda x: ridge / 2 * optax.tree.norm(x, squared=True)) if ridge > 0 else None,
        name="finetune",
    )
    if leader == "preference" and pairs == "anchored":
        count = _anchors_per_prompt(asked, liked, num_anchors)
        anchors = _anchors(problem, tokenizer, asked, liked, rated, count, model_seed)
        problem = problem._replace(anchors=anchors)
        if first_reward == "fitted":
            first = rewards.fitted(reward, anchors, problem.slope, ridge)
            problem = problem._replace(init_x=lambda key: first)
    return Finetuning(problem, tokenizer, tuple(asked), rated, str(model))


finetune.kept = lambda folder: {"kept": folder}  # type: ignore[attr-defined]
finetune.defaults = {"steps": 60, "seeds": 1, "record": "policies", "devices": 1}  # type: ignore[attr-defined]


def _policy(base: folders.Model, tokenizer: Tokenizer, asked: Sequence[Prompt], given: Mapping[str, Any]) -> Any:
    """Adapters on the base: those of a folder, or new ones."""
    shape = base.architecture
    if given["adapter"] is not None:
        reference, lora = adapters.load(given["adapter"], shape, folders.digest(base.params))
        _check_adapter(lora, given, shape)
    else:
        targets = tuple(given["lora_targets"].split(","))
        places = adapters.layers_of(given["lora_layers"], shape)
        lora = adapters.Lora(given["lora_rank"], given["lora_alpha"], targets, places)
        reference = adapters.init(shape, lora, random.key(given["model_seed"]))
    padded, length, temperature = _prompts.padded(asked), given["length"], given["temperature"]
    return policies.Adapted(shape, base.params, padded, tokenizer.ends, length, lora, reference, temperature)


def _check_adapter(lora: adapters.Lora, given: Mapping[str, Any], shape: Any) -> None:
    """Raise `ValueError` if options ask for another adapter than the one that is gone on from."""
    layers = ",".join(map(str, lora.layers))
    found = {"lora_rank": lora.rank, "lora_alpha": lora.alpha, "lora_targets": ",".join(lora.targets)}
    for name, own in (found | {"lora_layers": layers}).items():
        asked, usual = given[name], inspect.signature(finetune).parameters[name].default
        same = adapters.layers_of(asked, shape) == lora.layers if name == "lora_layers" else asked == own
        if asked != usual and not same:
            raise ValueError(f"{name}: {asked} was asked for, and the adapter that is gone on from has {own}")


def _anchors_per_prompt(asked: Sequence[Prompt], liked: Mapping[str, Sequence[str]], count: int) -> int:
    """How many completions each prompt is compared with.

    Raises:
      ValueError: if prompts have different numbers of given ones.
    """
    if not liked:
        return count
    counts = {len(liked.get(each.text, ())) for each in asked}
    if len(counts) > 1:
        raise ValueError(
            f"preferences must be as many for every prompt, got {min(counts) // 2} to {max(counts) // 2}; "
            "or compare completions of the policy with each other (pairs: policy)"
        )
    return counts.pop()


def _check(given: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless options are in range and name what is needed."""
    if given["model"] is None:
        raise ValueError("which model? hfac finetune FOLDER, in Hugging Face's format, or a .gguf file")
    if given["prompts"] is None and given["preferences"] is None:
        raise ValueError("which prompts? --prompts FILE, or --preferences FILE")
    for name in ("num_anchors", "length", "longest_prompt", "lora_rank"):
        _checks.count(name, given[name])
    for name in ("slope", "temperature", "lora_alpha", "rater_timeout"):
        if given[name] is not None:
            _checks.positive(name, given[name])
    _checks.number("ridge", given["ridge"], "be at least 0", 0)


def _slope(stated: float | None, rater: str) -> float:
    """Log-odds of a preference per unit of score."""
    if stated is not None:
        return stated
    return 1.0 if rater == raters.PEOPLE else SLOPE


def _beginnings(
    prompts: Path | None, preferences: Path | None, tokenizer: Tokenizer, longest: int
) -> tuple[list[Prompt], dict[str, list[str]]]:
    """All prompts, and completions of some that preferences are about."""
    found = [] if prompts is None else _prompts.read_prompts(prompts, tokenizer, longest)
    liked: dict[str, list[str]] = {}
    for each in [] if preferences is None else _prompts.read_preferences(preferences, tokenizer, longest):
        if each.prompt.text not in liked and each.prompt.text not in {own.text for own in found}:
            found.append(each.prompt)
        liked.setdefault(each.prompt.text, []).extend((each.chosen, each.rejected))
    return found, liked


def _anchors(
    problem: CompletionProblem,
    tokenizer: Tokenizer,
    asked: Sequence[Prompt],
    liked: Mapping[str, Sequence[str]],
    ratings: Ratings,
    count: int,
    seed: int,
) -> Anchors:
    """Completions of every prompt that others are compared with: given ones, or the base's, rated once.

    Raises:
      ValueError: if the rater fails.
    """
    policy = problem.policy
    write = jax.jit(lambda arrays, *asked: policy.over(arrays).write(*asked), static_argnums=4)
    features, texts = [], []
    size = max(completing.SIDE_BY_SIDE // count, 1)
    for start in range(0, len(asked), size):
        rows = np.arange(start, min(start + size, len(asked)))
        padded = np.resize(rows, size).astype(np.int32)
        key = random.fold_in(random.key(seed), start)
        written = write(policy.arrays, key, policy.reference, jnp.asarray(padded), count)
        if liked:
            written = _given(policy, tokenizer, [asked[int(row)] for row in padded], liked, written)
        texts += [[tokenizer.decode(ids) for ids in np.asarray(written.tokens[row])] for row in range(len(rows))]
        features.append(jax.tree.map(lambda leaf, own=rows: np.asarray(leaf)[: len(own)], problem.features(written)))
    scores = ratings.of_texts("anchors", 0, 0, texts)
    whole = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *features)
    return Anchors(whole, jnp.asarray(scores, jnp.float32))


def _given(
    policy: Any, tokenizer: Tokenizer, asked: Sequence[Prompt], liked: Mapping[str, Sequence[str]], like: Written
) -> Written:
    """Given completions in the place of written ones, read by the base."""
    tokens = np.full(like.tokens.shape, tokenizer.ends[0], np.int32)
    for group, each in enumerate(asked):
        for member, text in enumerate(liked[each.text]):
            ids = [*tokenizer.encode(text, begins=False), tokenizer.ends[0]][: tokens.shape[-1]]
            tokens[group, member, : len(ids)] = ids
    return policy.reading(like.prompt, jnp.asarray(tokens))


@dataclasses.dataclass(frozen=True, eq=False)
class Finetuning:
    """Everything that stays fixed while the two levels learn."""

    problem: CompletionProblem
    tokenizer: Tokenizer
    prompts: tuple[Prompt, ...]
    ratings: Ratings
    base: str  # where the model is

    name: ClassVar[str] = "finetune"
    kind: ClassVar[str] = "language"
    reported_as: ClassVar[str] = "finetune"
    is_long: ClassVar[bool] = True

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level; options are those of `hfac.language.lower`."""
        return self.problem.lower

    @property
    def init_x(self) -> Callable[[Key], PyTree]:
        """First reward."""
        return self.problem.init_x

    @property
    def shared(self) -> Shared:
        """Weights, prompts and anchors."""
        return self.problem.shared

    def with_shared(self, tree: PyTree) -> "Finetuning":
        """The same over other arrays."""
        return dataclasses.replace(self, problem=self.problem.with_shared(tree))

    def finish(self, algorithm: Algorithm, **options: Any) -> Algorithm:
        """A method with the rater between the parts of its steps."""
        return self.problem.finish(algorithm, **options)

    @property
    def record(self) -> Any:
        """What is kept at every record point: x, and what the step before it measured."""
        return _record

    def record_points(self, num_steps: int) -> Sequence[int]:
        """Steps that are recorded: all at first, then sixteen each time their number doubles. A step takes seconds."""
        found, stride = list(range(0, num_steps + 1)[: 2 * PER_DOUBLING + 1]), 1
        while found[-1] + 2 * stride <= num_steps:
            stride *= 2
            found += range(found[-1] + stride, min(num_steps, found[-1] + stride * PER_DOUBLING) + 1, stride)
        return found

    def judge(self, taus: float | Sequence[float]) -> Judge:
        """The objective is f along the step before a record point."""
        each = check_taus(taus)

        def function(carry: Any, record: Mapping[str, Any]) -> tuple[Any, dict[str, jax.Array]]:
            return carry, {OBJECTIVE: jnp.full(len(each), record["loss"], record["loss"].dtype)}

        like = {"x": jax.eval_shape(self.init_x, random.key(0))}
        return Judge(Metric(function, (), "judged_tau", each, (OBJECTIVE,), like), None)

    def method_options(self, name: str) -> dict[str, Any]:
        """Adam on clipped directions for x and the adapters."""
        if name not in algorithms.REGISTRY or "optimizers" not in options.of(getattr(algorithms, name), self.kind):
            return {}
        adam = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(1.0, *MOMENTS))
        variables = ["x", "theta", *(["theta_pen"] if algorithms.needs(name).penalty else [])]
        return {"optimizers": dict.fromkeys(variables, adam)}

    def notes(self) -> list[str]:
        """What a person may want to know before it goes on."""
        return self.ratings.notes()

    def along(self, record: Mapping[str, np.ndarray]) -> tuple[tuple[float, str], str]:
        """Of the last record point, leaves [R]: what comes with a sample, and words on how it goes."""
        is_there = np.isfinite(record.get("score_0", np.nan))
        if not np.any(is_there):
            return (self.problem.policy.length, "tokens"), ""
        mean = {name: float(np.mean(record[name][is_there])) for name in SHOWN if name in record}
        words = (
            f"score {mean['score_0']:.2f}, KL {mean['divergence_0']:.2f}, accuracy {mean['accuracy']:.2f}, "
            f"distinct-2 {mean['distinct']:.2f}"
        )
        return (mean["length"], "tokens"), words

    def save(self, folder: Path) -> None:
        """Ratings go to the folder of the run from here on, and come from there."""
        self.ratings.open(folder / RATINGS)


def _record(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
    """x, and scalars of the step before; nan before the first."""
    del schedules
    inner = core(state)
    found = {"x": getattr(state, "average", inner.x), "status": inner.status, "failed_at": inner.failed_at}
    shown = {name: info.look[name] for name in SHOWN if name in info.look}
    return found | {name: jnp.where(inner.step > 0, value, jnp.nan) for name, value in shown.items()}
