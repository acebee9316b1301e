"""A sentence of the report about the results, with the condition under which it is true."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """`text` has a place for each value; `values` takes them from the results files (a mapping by name, report/values.py); `holds` is an expression
    over them."""

    name: str
    text: str
    values: Callable[[Any], dict[str, Any]]
    holds: str
