"""Taking values out of a file that somebody may have cut, changed or made with an earlier version."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.runtime import UserError, first_line


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Around lines that read from the content of `path`: what it lacks, or has of another kind, is a UserError that names the file."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{path} lacks {error}: run the script that writes it again") from error
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not as its script writes it ({first_line(error)}): run that script again"
        ) from error
