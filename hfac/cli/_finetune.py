"""``hfac finetune MODEL``, short for ``hfac sweep finetune --problem.model MODEL``: a pretrained decoder learns."""

from collections.abc import Sequence

from hfac import options
from hfac._errors import InputError
from hfac._registry import find
from hfac.cli import _sweep
from hfac.cli._request import Request
from hfac.problems import REGISTRY as PROBLEMS

PROBLEM = "finetune"


def request(args: Sequence[str]) -> Request | None:
    """The request of ``hfac sweep finetune`` that is meant: options of the problem need no prefix here.

    Raises:
      InputError: if something is wrong with it.
    """
    known = {name.replace("_", "-") for name in options.of(find(PROBLEMS, PROBLEM, "problem"))}
    rest = list(args)
    model = ["--problem.model", rest.pop(0)] if rest and not rest[0].startswith("-") else []
    if not (model or {"-h", "--help", "--config"} & set(rest)):
        raise InputError(
            "which model? hfac finetune MODEL --prompts FILE, a folder in Hugging Face's format or a .gguf"
        )
    named = []
    for word in rest:
        flag, equals, value = word.partition("=")
        bare = flag.removeprefix("--").replace("_", "-")
        named.append(f"--problem.{bare}{equals}{value}" if flag.startswith("--") and bare in known else word)
    return _sweep.resolve([PROBLEM, *model, *named], "sweep")
