"""What a person is told in one line: input that is wrong, and runs that stopped because they were asked to."""

import contextlib
import difflib
from collections.abc import Collection, Iterator


class InputError(ValueError):
    """Bad input: one line that says what, value, rule, remedy."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop and did; the message says where."""


@contextlib.contextmanager
def as_input_error(prefix: str = "") -> Iterator[None]:
    """Turn a library's ValueError about user input into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{prefix}{error}") from None


def nearest(word: str, known: Collection[str]) -> str:
    """A hint that names the closest known word, or all of them."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(known)}"
