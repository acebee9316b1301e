"""Code shared by both questions: data, networks, metrics, figures, results files, command lines.

This module is imported before the slow libraries. It determines how a script ends: any error gives
one line on standard error, without a traceback unless --debug is given.
"""

import os
import re
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

# Figures are only written to files. Notebooks set a backend that may not be installed here, so this
# has to come before matplotlib is imported.
os.environ["MPLBACKEND"] = "Agg"
ROOT = Path(__file__).resolve().parent.parent
STARTED = time.monotonic()
OUT_OF_MEMORY = "out of memory|allocate memory|failed to map segment"
SCRIPTS = ("evaluation", "examples", "q1_gradcam", "q2_lime", "report")  # folders


class UserError(Exception):
    """A mistake that the user can fix. Its message is one line: what is wrong and what to do."""


def is_ours(file: str, folders: tuple[str, ...]) -> bool:
    """Whether a file lies in one of these folders of the project."""
    path = Path(file).resolve()
    return any(path.is_relative_to(ROOT / folder) for folder in folders)


def printable(text: str) -> str:
    """The text in one line, without characters that control a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def end(error: BaseException) -> int:
    """Prints one line about the error that ends a script. Returns the exit status.

    2: an error that the user can fix; 130: stopped by a signal; 1: nobody reads the output; 70: an
    error in this project.
    """
    try:
        sys.stdout.flush()
    except OSError:  # the reader is gone or the disk full: do not try again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    message = first_line(error)
    if isinstance(error, KeyboardInterrupt):
        status, line = 130, "stopped"
    elif isinstance(error, BrokenPipeError):
        return 1
    elif isinstance(error, UserError):
        status, line = 2, f"error: {error}"
    elif isinstance(error, MemoryError) or re.search(OUT_OF_MEMORY, message):
        status, line = 2, f"error: out of memory ({message}): about 4 GB are needed"
    elif isinstance(error, ImportError):
        status, line = 2, f"error: {message}: run pip install -r requirements.txt"
    elif isinstance(error, OSError):
        status, line = 2, f"error: {message}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if is_ours(f.filename, (*SCRIPTS, "common", "tests"))]
        place = "".join(f" in {f.filename}:{f.lineno}" for f in (ours or frames)[-1:])
        what = f"internal error{place}: {type(error).__name__}: {message}"
        status, line = 70, f"{what}; rerun with --debug for the traceback"
    with suppress(OSError):
        if "--debug" in sys.argv:
            traceback.print_exception(error)
        print(printable(line), file=sys.stderr, flush=True)
    return status


def _prepare_script() -> None:
    """Applies `end` to errors during imports, and ends SIGTERM and SIGHUP like Ctrl-C."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))
    sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that are not UTF-8
    sys.excepthook = lambda kind, error, trace: os._exit(end(error))
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not all exist on Windows
        if number and signal.getsignal(number) == signal.SIG_DFL:  # not ignored, as by nohup
            signal.signal(number, signal.default_int_handler)


if is_ours(getattr(sys.modules["__main__"], "__file__", None) or ".", SCRIPTS):  # not a notebook
    _prepare_script()
