"""``hfac finetune MODEL``, short for ``hfac sweep finetune --problem.model MODEL``: a pretrained decoder learns."""

import contextlib
import difflib
import io
import re
from collections.abc import Mapping, Sequence

from hfac import options
from hfac._errors import InputError
from hfac._registry import find
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import _sweep
from hfac.cli._commands import COMMANDS
from hfac.cli._request import Request
from hfac.problems import REGISTRY as PROBLEMS

PROBLEM = "finetune"
LIKE = 0.75  # how alike two names are, of which one is taken for the other mistyped


def request(args: Sequence[str]) -> Request | None:
    """The request of ``hfac sweep finetune`` that is meant: options of problem and method need no prefix here.

    Raises:
      InputError: if something is wrong with it.
    """
    builder = find(PROBLEMS, PROBLEM, "problem")
    of_methods = options.of(find(ALGORITHMS, "hfac", "algorithm"), options.kind_of(builder))
    owners = dict.fromkeys(of_methods, "algorithm") | dict.fromkeys(options.of(builder), "problem")
    rest = list(args)
    model = ["--problem.model", rest.pop(0)] if rest and not rest[0].startswith("-") else []
    if not (model or {"-h", "--help", "--config"} & set(rest)):
        raise InputError(
            "which model? hfac finetune MODEL --prompts FILE; first a folder in Hugging Face's format or a .gguf"
        )
    named = []
    for word in rest:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        owner = owners.get(name) if flag.startswith("--") else None
        named.append(word if owner is None else f"--{owner}.{flag.removeprefix('--')}{equals}{value}")
    words = [PROBLEM, *model, *named]
    if {"-h", "--help"} & set(rest):
        return _helped(words)
    try:
        return _sweep.resolve(words, "sweep")
    except InputError as error:
        raise InputError(_as_written(str(error), owners)) from None


def _as_written(message: str, owners: Mapping[str, str]) -> str:
    """A complaint with the names that options have here; a word that is close to one is told."""
    message = re.sub(r"--(problem|algorithm)\.", "--", message).replace(f"hfac sweep {PROBLEM}", "hfac finetune")
    unknown = re.match(r"Unrecognized options: --([\w-]+)", message)
    if unknown is None:
        return message
    close = difflib.get_close_matches(unknown[1].replace("-", "_"), owners, 1, LIKE)
    hint = f"; did you mean --{close[0].replace('_', '-')}?" if close else "; all there are: hfac finetune --help"
    return f"there is no option --{unknown[1]}{hint}"


def _helped(words: list[str]) -> Request | None:
    """Print the help with the names that options have here."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            return _sweep.resolve(words, "sweep")
    finally:
        text = said.getvalue().replace(f"hfac sweep {PROBLEM}", "hfac finetune MODEL")
        text = text.replace(COMMANDS["sweep"].description, COMMANDS["finetune"].description)
        print("\n".join(map(_without_prefix, text.splitlines())))


def _without_prefix(row: str) -> str:
    """A row of the help; what stands beside an option stays where it is."""
    short = re.sub(r"--(problem|algorithm)\.", "--", row)
    filler = " " * (len(row) - len(short))
    return re.sub(r"(--\S+(?: \S+)*)", lambda found: found[0] + filler, short, count=1) if filler else row
