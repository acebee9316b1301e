"""The figures of Question 2's text half: measures of the classifiers, explained posts, where the weight lies."""

import re
import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from common.figures import ACCENT, FAINT, INK, SECOND, WIDTH, plt
from common.newsgroups import ZONES

FOR, AGAINST = ACCENT, SECOND
ZONE_COLOURS = {"header": "#7b3294", "quote": "#c2185b", "footer": "#6b6b75", "body": "#2e7d32"}
KIND_NAMES = {"svm": "linear SVM", "logistic_regression": "logistic regression"}
COLUMNS = 84  # characters to a line of a drawn post
# As much of a line as fits, up to the end of a word; or, of a word that is longer than a line, as much as fits.
FITTING = re.compile(rf"(.{{0,{COLUMNS - 1}}}\S)(?!\S)\s*|(.{{1,{COLUMNS}}})")
PIECE = 20  # characters that are drawn at once
LINES, EXCERPT = 34, 14  # lines of a post that are drawn, alone and beside others


@dataclass(frozen=True)
class Word:
    """An explained word: its text, its weight for the class, the zone where it mostly stands."""

    text: str
    weight: float
    zone: str


@dataclass(frozen=True)
class Explained:
    """A post ready to be drawn: `name`, `text`, spans (start, end, weight) of the leading words, `zones` as (start, end, zone),
    the leading `words`, true class, what the model says with what probability, and lines on how far to trust it."""

    name: str
    text: str
    spans: list[tuple[int, int, float]]
    zones: list[tuple[int, int, str]]
    words: list[Word]
    true: str
    predicted: str
    probability: float
    card: list[str]


def confusion(matrix: np.ndarray, names: tuple[str, ...], kind: str):
    """Confusion matrix, counts; the diagonal uncoloured so that the mistakes can be told apart."""
    figure, ax = plt.subplots(figsize=(WIDTH, WIDTH * 0.86), layout="constrained")
    mistakes = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    shown = ax.imshow(mistakes, cmap="Blues", vmin=0)
    for t, p in np.ndindex(matrix.shape):
        if matrix[t, p]:
            light = t != p and matrix[t, p] > 0.6 * np.nanmax(mistakes)
            ax.text(
                p,
                t,
                matrix[t, p],
                ha="center",
                va="center",
                fontsize=6,
                color="white" if light else "black",
                fontweight="bold" if t == p else "normal",
            )
    ax.set_xticks(
        range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
    )
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"{KIND_NAMES[kind]}, posts as they are",
    )
    figure.colorbar(shown, ax=ax, shrink=0.6, label="mistakes (test posts)")
    return figure


def per_class(recalls: dict[str, np.ndarray], names: tuple[str, ...], kind: str):
    """What each class loses when headers, footers and quotes are taken away, largest loss on top."""
    order = np.argsort(recalls["full"] - recalls["stripped"])
    figure, ax = plt.subplots(figsize=(WIDTH, 0.2 * len(names) + 1.2), layout="constrained")
    y = np.arange(len(names))
    ax.hlines(y, recalls["stripped"][order], recalls["full"][order], color=FAINT, linewidth=1.2)
    ax.plot(recalls["full"][order], y, "o", color=ACCENT, label="posts as they are")
    ax.plot(
        recalls["stripped"][order],
        y,
        "s",
        color=SECOND,
        markerfacecolor="white",
        label="without headers, footers, quotes",
    )
    ax.set_yticks(y, np.array(names)[order])
    ax.set(
        xlim=(min(0.3, *recalls["stripped"]) - 0.02, 1.01),
        xlabel=f"recognised test posts, {KIND_NAMES[kind]}",
    )
    ax.grid(axis="x", color="#e4e4e8")
    ax.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def post(shown: Explained):
    """One post: its leading words as bars, and the post itself with these words coloured."""
    lines = _lines(shown)
    head = 0.66 + 0.125 * (1 + len(shown.card))  # inches
    height = head + max(0.118 * len(lines) + 0.15, 0.2 * len(shown.words) + 0.42)
    figure = plt.figure(figsize=(WIDTH, height))
    top = 1 - head / height
    figure.text(
        0.01,
        1 - 0.10 / height,
        f"{shown.name}: {_verdict_of(shown)}",
        fontsize=8.5,
        fontweight="bold",
        va="top",
        parse_math=False,
    )
    figure.text(
        0.01,
        1 - 0.28 / height,
        "\n".join([f"Words for and against {shown.predicted!r}.", *shown.card]),
        fontsize=6.6,
        va="top",
        linespacing=1.3,
        parse_math=False,
    )
    bars_height = 0.2 * len(shown.words) / height
    ax = figure.add_axes((0.145, top - bars_height, 0.165, bars_height))
    _bars(ax, shown.words)
    ax.set_xlabel("LIME weight", fontsize=6.5)
    page_height = 0.118 * (len(lines) + 0.6) / height
    page = figure.add_axes((0.345, top - page_height, 0.65, page_height))
    _page(page, lines, shown)
    _key(figure, 0.01, top + 0.14 / height)
    return figure


def _verdict_of(shown: Explained) -> str:
    if shown.true in (shown.predicted, ""):
        return f"the model says {shown.predicted} ({shown.probability:.0%})" + (
            ", which is right" if shown.true else ""
        )
    return f"the model says {shown.predicted} ({shown.probability:.0%}), but it is {shown.true}"


def _bars(ax, words: list[Word], size: float = 6.5) -> None:
    """Words from the heaviest down: bars to the right speak for the class, to the left against it. A letter names the zone."""
    y = np.arange(len(words))[::-1]
    weights = np.array([word.weight for word in words])
    ax.barh(y, weights, color=np.where(weights > 0, FOR, AGAINST), height=0.72)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set_yticks(
        y,
        [word.text if len(word.text) <= 16 else word.text[:15] + "…" for word in words],
        fontsize=size,
    )
    for tick, word in zip(ax.get_yticklabels(), words, strict=True):
        tick.set_color(ZONE_COLOURS[word.zone])
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=size - 1, length=2)
    ax.locator_params(axis="x", nbins=3)


@dataclass(frozen=True)
class _Line:
    start: int
    text: str
    gap: int = 0  # source lines left out before this one


def _lines(shown: Explained, most: int = LINES) -> list[_Line]:
    """The post in lines of COLUMNS characters at most; of a long one those with leading words, and the first ones, up to `most`."""
    lines, place = [], 0
    for source in shown.text.split("\n"):
        lines += [
            _Line(place + part.start(), part[1] or part[2]) for part in FITTING.finditer(source)
        ]
        lines += [] if source else [_Line(place, "")]
        place += len(source) + 1
    lines = [
        line
        for k, line in enumerate(lines)
        if line.text.strip() or (k and lines[k - 1].text.strip())
    ]
    if len(lines) <= most:
        return lines
    marked = [
        any(s < line.start + len(line.text) and e > line.start for s, e, _ in shown.spans)
        for line in lines
    ]
    first = sorted(sorted(range(len(lines)), key=lambda k: (not marked[k], k))[:most])
    kept, before = [], -1
    for k in first:
        kept.append(_Line(lines[k].start, lines[k].text, k - before - 1))
        before = k
    return kept


def _page(ax, lines: list[_Line], shown: Explained) -> None:
    """The lines in a typewriter face, leading words on a coloured ground, the zone as a stripe at the left."""
    ax.set(xlim=(-2.2, COLUMNS), ylim=(len(lines) + 0.3, -0.3))
    ax.axis("off")
    strongest = max((abs(w) for _, _, w in shown.spans), default=1.0) or 1.0
    width = ax.get_position().width * WIDTH * 72 / (COLUMNS + 2.2)  # points to a character
    font = {"family": "DejaVu Sans Mono", "fontsize": width / 0.602}
    for row, line in enumerate(lines):
        if line.gap:
            ax.plot([-1.8, COLUMNS], [row, row], color=FAINT, linewidth=0.5, linestyle=":")
        zone = next((z for s, e, z in shown.zones if s <= line.start < e), None)
        if zone:
            ax.add_patch(
                Rectangle((-2.0, row + 0.04), 0.7, 0.94, color=ZONE_COLOURS[zone], linewidth=0)
            )
        end, clean = line.start + len(line.text), _printable(line.text)
        marked = np.zeros(
            len(clean) + 1, dtype=int
        )  # which leading word a character belongs to, counted from 1
        for number, (start, stop, weight) in enumerate(shown.spans, start=1):
            a, b = max(start, line.start) - line.start, min(stop, end) - line.start
            if a < b:
                marked[a:b] = number
                ground = to_rgba(
                    FOR if weight > 0 else AGAINST, min(1.0, 0.2 + 0.8 * abs(weight) / strongest)
                )
                ax.add_patch(
                    Rectangle((a - 0.1, row + 0.05), b - a + 0.2, 0.92, color=ground, linewidth=0)
                )
        # Piece by piece, each at its own column: over a whole line the face's rounded widths would drift.
        for match in re.finditer(r"\S+", clean):
            begin, stop = match.span()
            inside = range(begin + 1, stop)
            cuts = [
                begin,
                *(k for k in inside if marked[k] != marked[k - 1] or (k - begin) % PIECE == 0),
                stop,
            ]
            for a, b in zip(cuts, cuts[1:], strict=False):
                weight = shown.spans[marked[a] - 1][2] if marked[a] else 0.0
                colour = (
                    "#55555c"
                    if not marked[a]
                    else "white"
                    if abs(weight) > 0.6 * strongest
                    else INK
                )
                ax.text(
                    a, row + 0.5, clean[a:b], va="center", color=colour, parse_math=False, **font
                )


def _printable(text: str) -> str:
    """One column for each character: tabs and whatever the typewriter face lacks become single signs."""
    return "".join(
        c if " " <= c <= "~" or "\xa1" <= c <= "\u024f" else " " if c.isspace() else "·"
        for c in text
    )


def telling(explained: list[Explained], shares: list[float], title: str, caption: str):
    """The posts whose decision leans most on what is not the body: leading words and the lines where they stand."""
    lines = [_lines(shown, EXCERPT) for shown in explained]
    heights = [
        max(0.118 * len(part), 0.19 * min(len(shown.words), 8)) + 0.62
        for part, shown in zip(lines, explained, strict=True)
    ]
    height = sum(heights) + 1.0
    figure = plt.figure(figsize=(WIDTH, height))
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=10, fontweight="bold", va="top")
    top = 0.42
    for shown, share, part, high in zip(explained, shares, lines, heights, strict=True):
        judged = f"{shown.name}: {_verdict_of(shown)}; {share:.0%} of the weight outside the body"
        figure.text(0.01, 1 - top / height, judged, fontsize=7.5, fontweight="bold", va="top")
        words = shown.words[:8]
        room = 0.19 * len(words) / height
        ax = figure.add_axes((0.145, 1 - (top + 0.2) / height - room, 0.165, room))
        _bars(ax, words)
        page = figure.add_axes(
            (0.345, 1 - (top + 0.2 + 0.118 * len(part)) / height, 0.65, 0.118 * len(part) / height)
        )
        _page(page, part, shown)
        top += high
    figure.text(
        0.02,
        0.30 / height,
        "\n".join(textwrap.wrap(caption, 150)),
        fontsize=6.6,
        va="top",
        linespacing=1.25,
    )
    _key(figure, 0.02, 0.40 / height)
    return figure


def _key(figure, x: float, y: float) -> None:
    """What the colours of bars and of words mean, in one line from (x, y) of the figure."""
    figure.text(x, y, "Bars, marked words:", fontsize=6.6)
    for place, colour, text in ((0.138, FOR, "for"), (0.173, AGAINST, "against the class")):
        figure.text(
            x + place,
            y,
            text,
            color="white",
            fontsize=6.6,
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
        )
    figure.text(
        x + 0.335, y, "Name of a word, stripe of a line: the part of the post:", fontsize=6.6
    )
    for place, (zone, colour) in zip(
        (0.705, 0.768, 0.826, 0.882), ZONE_COLOURS.items(), strict=True
    ):
        figure.text(x + place, y, zone, color=colour, fontsize=6.6, fontweight="bold")


def overview(explained: list[Explained], title: str, caption: str, words: int = 6):
    """All posts at a glance: the leading words of each."""
    columns = 4
    rows = -(-len(explained) // columns)
    height = 1.15 * rows + 1.0
    figure = plt.figure(figsize=(WIDTH, height))
    figure.text(
        0.5, 1 - 0.08 / height, title, fontsize=10, fontweight="bold", ha="center", va="top"
    )
    for k, shown in enumerate(explained):
        row, column = divmod(k, columns)
        left, bottom = 0.105 + 0.25 * column, 1 - (0.34 + 1.15 * row + 1.0) / height
        ax = figure.add_axes((left, bottom, 0.135, 0.68 / height))
        _bars(ax, shown.words[:words], size=5.6)
        right = shown.predicted == shown.true
        x = left - 0.095
        figure.text(
            x, bottom + 0.90 / height, shown.true, fontsize=6.4, fontweight="bold", va="center"
        )
        says = f"{'says so' if right else 'says ' + shown.predicted}, {shown.probability:.0%}"
        figure.text(
            x,
            bottom + 0.77 / height,
            says,
            fontsize=5.8,
            va="center",
            color=INK if right else AGAINST,
        )
    lines = textwrap.wrap(caption, 150)
    figure.text(0.02, 0.36 / height, "\n".join(lines), fontsize=6.6, va="top", linespacing=1.25)
    _key(figure, 0.02, 0.44 / height)
    return figure


def leak(shares: dict[str, np.ndarray], names: tuple[str, ...], labels: dict[str, str]):
    """Where the weight of the explanations lies, class by class, for each model: shares of the zones, (K, 4) for each key of
    `shares`, whose panel titles are `labels`."""
    order = np.argsort(shares[next(iter(shares))][:, ZONES.index("body")])[::-1]
    figure, axes = plt.subplots(
        1,
        len(shares),
        figsize=(WIDTH, 0.2 * len(names) + 1.3),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax, (key, share) in zip(axes[0], shares.items(), strict=True):
        start = np.zeros(len(names))
        for zone, colour in ZONE_COLOURS.items():
            part = share[order, ZONES.index(zone)]
            ax.barh(
                range(len(names)),
                part,
                left=start,
                color=colour,
                height=0.78,
                label=zone,
                edgecolor="white",
                linewidth=0.4,
            )
            start += part
        ax.set_title(labels[key], fontsize=7.5)
        ax.set(xlim=(0, 1), xlabel="share of the weight of the ten leading words")
        ax.xaxis.label.set_size(7)
    axes[0, 0].set_yticks(range(len(names)), np.array(names)[order])
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=4)
    return figure
