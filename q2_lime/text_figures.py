"""Figures of LIME on texts: explained posts, one by one and together."""

import re
import textwrap
from collections import namedtuple
from dataclasses import dataclass

from common.figures import ACCENT as FOR
from common.figures import FAINT, INK, WIDTH, axes_at, plt, shorten, text_at
from common.figures import SECOND as AGAINST
from common.user_files import percent

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from q2_lime import summary
from q2_lime.text import Post

ZONE_COLORS = {"header": "#332288", "quote": "#aa3377", "footer": "#6b6b75", "body": "#117733"}
COLUMNS = 84  # characters per line of a drawn post
# As many words as fit into a line; of a word longer than a line, as many characters as fit.
LINE = re.compile(rf"(.{{0,{COLUMNS - 1}}}\S)(?!\S)\s*|(.{{1,{COLUMNS}}})")
MAX_LINES = 34
LINE_HEIGHT, BAR_HEIGHT = 0.118, 0.19  # inches
CHART_LEFT, CHART_WIDTH, PAGE_LEFT, PAGE_WIDTH = 1.12, 1.15, 2.5, 4.65  # inches


@dataclass(frozen=True)
class Panel:
    """An explained post: its name in figures, its text, and its entry in explanations.json."""

    name: str
    post: Post
    sample: dict


def post(panel: Panel):
    """One post: how reliable its explanation is, word weights, class probabilities, the text."""
    lines, sample = page_lines(panel), panel.sample
    words, top5, truth = (sample[key] for key in ("words", "top5", "ground_truth_correlation"))
    notes = summary.describe(sample, "Margin")
    if truth is not None:
        notes.append(f"Rank correlation with the ground truth (coefficient x TF-IDF): {truth:.2f}")
    notes = [line for note in notes for line in textwrap.wrap(note, 150)]
    top = 0.55 + 0.125 * len(notes)
    # The probabilities go below the word weights or below the text, whichever is shorter.
    heights = [BAR_HEIGHT * len(words) + 0.45, LINE_HEIGHT * len(lines) + 0.2]
    column = int(heights[0] > heights[1])
    chart_top = top + heights[column]
    heights[column] += 0.16 * len(top5) + 0.3
    figure = plt.figure(figsize=(WIDTH, top + max(heights)))
    name, true, predicted = printable(shorten(panel.name, 45)), sample["true"], sample["predicted"]
    correct = "" if not true else ", correct" if true == predicted else f", true: {true}"
    heading = f"{name}: predicted {predicted} ({sample['probability']:.0%}){correct}"
    text_at(figure, 0.08, 0.08, heading, fontsize=8.5, fontweight="bold")
    text_at(figure, 0.08, 0.28, "\n".join(notes), fontsize=6.6, linespacing=1.3)
    _key(figure, top - 0.22)
    _page(axes_at(figure, PAGE_LEFT, top, PAGE_WIDTH, LINE_HEIGHT * len(lines)), lines, panel)
    ax = axes_at(figure, CHART_LEFT, top, CHART_WIDTH, BAR_HEIGHT * len(words))
    _word_bars(ax, words)
    ax.set_xlabel("LIME weight (margin)", fontsize=6.5)
    ax = axes_at(figure, 1.4 + column * 2.4, chart_top, 0.8, 0.16 * len(top5))
    bars = ax.barh(range(len(top5)), [row["probability"] for row in top5], color=FAINT, height=0.7)
    ax.bar_label(bars, [percent(row["probability"]) for row in top5], fontsize=5.5, padding=2)
    ax.set_yticks(range(len(top5)), [row["class"] for row in top5], fontsize=6)
    ax.set(xlim=(0, 1.15), ylim=(len(top5) - 0.5, -0.5), xticks=[])
    ax.set_xlabel("class probability", fontsize=6.5)
    return figure


def overview(panels: list[Panel]):
    """The six top words of every post."""
    columns, height = 4, 1.15
    figure = plt.figure(figsize=(WIDTH, height * -(-len(panels) // columns) + 0.3))
    _key(figure, 0.02)
    for k, panel in enumerate(panels):
        left, top = k % columns * 1.8 + 0.07, k // columns * height + 0.3
        true, predicted = panel.sample["true"], panel.sample["predicted"]
        outcome = "✓ correct" if true == predicted else f"✗ predicted {predicted}"
        outcome += f", {panel.sample['probability']:.0%}"
        text_at(figure, left, top, true, fontsize=6.4, fontweight="bold")
        text_at(figure, left, top + 0.13, outcome, fontsize=5.8)
        ax = axes_at(figure, left + 0.75, top + 0.27, 0.93, 0.68)
        _word_bars(ax, panel.sample["words"][:6], size=5.6)
    return figure


def _key(figure, top: float) -> None:
    """A legend of colors and letters in one line."""
    labels = {"for the predicted class": FOR, "against it": AGAINST}
    labels |= {f"{zone[0].upper()} = {zone}": color for zone, color in ZONE_COLORS.items()}
    handles = [Patch(color=color, label=label) for label, color in labels.items()]
    place = {"loc": "upper left", "bbox_to_anchor": (0.01, 1 - top / figure.get_figheight())}
    style = {"ncols": 6, "fontsize": 6.6, "handlelength": 1, "borderaxespad": 0, "borderpad": 0.1}
    figure.legend(handles=handles, **place, **style)


def _word_bars(ax, words: list[dict], size: float = 6.5) -> None:
    """Weights of words, largest first. The letter and color of a word mark its zone."""
    weights = np.array([word["weight"] for word in words])
    ax.barh(range(len(words)), weights, color=np.where(weights > 0, FOR, AGAINST), height=0.72)
    ax.axvline(0, color=INK, linewidth=0.6)
    labels = [f"{shorten(word['word'], 16)} ({word['zone'][0].upper()}) " for word in words]
    ax.set_yticks(range(len(words)), labels, va="center", fontsize=size)
    for label, word in zip(ax.get_yticklabels(), words, strict=True):
        label.set_color(ZONE_COLORS[word["zone"]])
    ax.set_ylim(len(words) - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0, pad=0)
    ax.tick_params(axis="x", length=2, labelsize=size - 1)
    ax.locator_params(axis="x", nbins=3)


Line = namedtuple("Line", "number start text")  # of a drawn post; `start`: in the text of the post


def _marks(panel: Panel) -> list[tuple[int, int, float]]:
    """(start, end, weight) of every occurrence of the top words."""
    weights = {word["word"]: word["weight"] for word in panel.sample["words"]}
    named = ((start, end, panel.post.words[k]) for start, end, k in panel.post.spans)
    return [(start, end, weights[word]) for start, end, word in named if word in weights]


def page_lines(panel: Panel) -> list[Line]:
    """The text in lines of at most COLUMNS characters, without repeated blank lines.

    If there are more than MAX_LINES, lines with top words are kept, and then the first ones.
    """
    lines, place = [], 0
    for source in panel.post.text.split("\n"):
        for match in LINE.finditer(source or " "):
            text = match[0].strip() and (match[1] or match[2])
            if text or (lines and lines[-1].text):
                lines.append(Line(len(lines), place + match.start(), text))
        place += len(source) + 1
    starts = [start for start, _, _ in _marks(panel)]
    begins = [line.start for line in lines] + [len(panel.post.text)]
    has_mark = np.diff(np.searchsorted(starts, begins)) > 0
    kept = np.argsort(~has_mark, kind="stable")[:MAX_LINES]
    return [lines[k] for k in np.sort(kept)]


def _page(ax, lines: list[Line], panel: Panel) -> None:
    """The lines in a monospaced font, with top words highlighted and zones marked at the left."""
    ax.set(xlim=(-2.2, COLUMNS), ylim=(len(lines), 0))
    ax.axis("off")
    marks = _marks(panel)
    strongest = max((abs(weight) for _, _, weight in marks), default=0) or 1.0
    character = PAGE_WIDTH * 72 / (COLUMNS + 2.2)  # points
    font = {"family": "DejaVu Sans Mono", "fontsize": character / 0.602, "va": "center_baseline"}
    zone, number = None, -1
    for row, line in enumerate(lines):
        before, gap, number = zone, line.number > number + 1, line.number
        if gap:
            ax.plot([-1.8, COLUMNS], [row, row], color=FAINT, linewidth=0.5, linestyle=":")
        zone = next((z for _, stop, z in panel.post.parts if line.start < stop), before)
        ax.add_patch(Rectangle((-2.1, row), 1.2, 1, color=ZONE_COLORS[zone], linewidth=0))
        if zone != before or gap:
            letter = {"ha": "center", "va": "center_baseline", "fontsize": 5, "color": "white"}
            ax.text(-1.5, row + 0.5, zone[0].upper(), fontweight="bold", **letter)
        clean = printable(line.text)
        plain = list(clean)  # without the top words, which are drawn over their boxes
        for start, stop, weight in marks:
            a, b = max(start - line.start, 0), min(stop - line.start, len(clean))
            if a >= b:  # in another line
                continue
            plain[a:b] = " " * (b - a)
            share = abs(weight) / strongest
            ground = np.array(to_rgb(FOR if weight > 0 else AGAINST)) * (0.2 + 0.8 * share)
            box = Rectangle((a - 0.1, row + 0.05), b - a + 0.2, 0.92, linewidth=0)
            box.set(color=ground + 0.8 * (1 - share), zorder=2.5)
            ax.add_patch(box)
            color = "white" if share > 0.6 else INK
            ax.text(a, row + 0.5, clean[a:b], color=color, **font)
        # Each word is placed at its column, because rounded widths would add up over a line.
        for piece in re.finditer(r"\S{1,20}", "".join(plain)):
            ax.text(piece.start(), row + 0.5, piece[0], color="#55555c", zorder=2.9, **font)


def printable(text: str) -> str:
    """The text with white space as spaces, and with dots for letters that the font may lack."""
    return re.sub(r"[^ -~\xa1-\u024f]", lambda m: " " if m[0].isspace() else "·", text)
