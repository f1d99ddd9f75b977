"""How every figure of the report looks: colours, sizes, fonts, and files that are the same for the same record.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which stay apart for colour-blind readers, without
the yellow that fades on white; shapes and positions repeat what colours say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any

from codesign.report.numbers import significant

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "GRID",
    "INK",
    "MUTED",
    "PALETTE",
    "PAPER",
    "WIDTH_INCHES",
    "colours",
    "distinct_colours",
    "drawing",
    "file_bytes",
    "new_figure",
    "plain_log_ticks",
    "shapes",
    "top_legend",
]

WIDTH_INCHES = 7.6
PNG_DPI = 150
_LEGEND_CHARACTERS = 108  # of the legend's font, on one line of the width

INK = "#1f2328"
MUTED = "#59636e"
GRID = "#d8dee4"
PAPER = "#ffffff"
DARK = "#101418"  # text on the light colours of the palette, in the light and the dark scheme of a page alike
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d46", "#7a7f87")
_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")

_RC: Mapping[str, Any] = {
    "font.size": 9.0,
    # DejaVu Sans ships with matplotlib, so text is placed alike everywhere; the generic name is for viewers of the SVG.
    "font.family": ["DejaVu Sans", "sans-serif"],
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.parse_math": False,  # a name such as "a$b$c" is a name
    "svg.fonttype": "none",  # text stays text: searchable, small, read out by screen readers
    "svg.hashsalt": "codesign",
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of the report, for making a figure and for writing it; the caller's own come back afterwards.

    They start from matplotlib's defaults, so that a user's matplotlibrc cannot change the bytes.
    """
    import matplotlib as mpl

    settings = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context({**settings, **_RC}):  # type: ignore[dict-item,unused-ignore]
        yield


def new_figure(height_inches: float) -> Figure:
    """An empty figure of the report's width, laid out by matplotlib's constrained layout; no pyplot involved."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def file_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "png" or "svg" file content, without dates and program versions."""
    metadata: dict[str, Any] = {"Software": None}
    if kind == "svg":
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    buffer = BytesIO()
    with drawing():
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of the palette for each name, in order; the palette starts again after its end."""
    return dict(zip(names, cycle(PALETTE), strict=False))


def distinct_colours(groups: Sequence[Iterable[str]], names: Iterable[str]) -> dict[str, str]:
    """A colour for each of ``names`` that no other name of the same group has, while the palette lasts.

    Names in different groups may share a colour; a name keeps its colour in all groups. Earlier names choose first.
    """
    members = [frozenset(group) for group in groups]
    chosen: dict[str, str] = {}
    for position, name in enumerate(names):
        beside = {other for group in members if name in group for other in group}
        taken = {chosen[other] for other in beside if other in chosen}
        free = [colour for colour in PALETTE if colour not in taken]
        chosen[name] = free[0] if free else PALETTE[position % len(PALETTE)]
    return chosen


def shapes(names: Iterable[str]) -> dict[str, str]:
    """A marker shape for each name, in order."""
    return dict(zip(names, cycle(_SHAPES), strict=False))


def top_legend(figure: Figure, handles: Sequence[Artist], **settings: Any) -> None:
    """One legend over all panels, in as many columns as its texts leave room for."""
    texts = [str(handle.get_label()) for handle in handles]
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=_legend_columns([len(text) for text in texts]),
        columnspacing=1.4,
        **{"handletextpad": 0.4, **settings},
    )


def _legend_columns(lengths: Sequence[int]) -> int:
    """matplotlib fills a legend column by column; a mark takes the room of about six characters."""
    for columns in range(len(lengths), 1, -1):
        rows = -(-len(lengths) // columns)
        widths = [max(lengths[start : start + rows]) + 6 for start in range(0, len(lengths), rows)]
        if sum(widths) <= _LEGEND_CHARACTERS:
            return columns
    return 1


def plain_log_ticks(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with room on both sides and ticks at 1, 2 and 5, written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    margin = (max(values) / min(values)) ** 0.16
    axes.set_xlim(min(values) / margin, max(values) * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: significant(value)))
