"""The interval of an accuracy, and the numbers in the README."""

import pytest

from common import results, statistics
from report import glance


def test_the_interval_of_the_accuracy():
    """Wilson's interval is where the share is 1.96 standard errors away, by the formula of his paper."""
    low, high = statistics.wilson_interval(8, 10)
    for p in (low, high):
        assert abs(0.8 - p) == pytest.approx(1.95996 * (p * (1 - p) / 10) ** 0.5, rel=1e-4)
    assert low < 0.8 < high


def test_the_readme_says_what_the_results_say():
    text = glance.README.read_text(encoding="utf-8")
    assert glance.rewritten(text, results.OUTPUTS) == text, "run python report/glance.py"
