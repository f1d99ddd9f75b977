"""A matplotlib SVG file made fit to stand inside a page: own ids, the page's colours, a text alternative."""

from __future__ import annotations

import re
from html import escape

from codesign.report.figures.style import GRID, INK, MUTED, PALETTE, PAPER

__all__ = ["inline_svg"]

# The page redefines these variables in its dark scheme; the colour behind the comma is for other viewers.
_THEME = {
    INK: "currentColor",
    **{colour: f"var(--{name}, {colour})" for name, colour in (("muted", MUTED), ("grid", GRID), ("paper", PAPER))},
    **{colour: f"var(--c{index}, {colour})" for index, colour in enumerate(PALETTE)},
}
_COLOUR = re.compile("|".join(map(re.escape, _THEME)))
_STYLE = re.compile(r'(?<= style=")[^"]*')
_ID = re.compile(r'(?<= id=")|(?<=url\(#)|(?<=xlink:href="#)')


def inline_svg(svg: bytes, *, prefix: str, alt: str) -> str:
    """The ``<svg>`` element of a file that ``figures.style.file_bytes`` wrote.

    Args:
        svg: the file's content.
        prefix: put before every id, so that several figures can stand in one page.
        alt: text alternative; escaped here.
    """
    text = svg.decode("utf-8")
    start = text.index("<svg")
    head_end = text.index(">", start)
    view_box = re.search(r'viewBox="[^"]*"', text[start:head_end])
    if view_box is None:
        raise ValueError("inline_svg: not an SVG file of matplotlib: no viewBox")
    body = text[head_end + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)  # a style would reach the whole page
    body = _ID.sub(prefix, body)
    body = _STYLE.sub(lambda match: _COLOUR.sub(lambda colour: _THEME[colour[0]], match[0]), body)
    return f'<svg {view_box[0]} role="img" aria-label="{escape(alt)}">{body.strip()}'
