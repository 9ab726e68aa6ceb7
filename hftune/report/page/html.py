"""Pieces of the page as text: everything that comes from a run is escaped."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from hftune.report.style import GREY, GRID, GROUND, INK

_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_IDS = re.compile(r'(\bid="|xlink:href="#|url\(#)')
# Colours of a picture that are the page's; those of what is drawn stay.
_COLORS = {INK: "text", GREY: "faint", GRID: "line", GROUND: "panel"}
# Small pictures do not fill a wide page: letters would have another size in each.
_ENLARGED = 1.15
_WIDTH = re.compile(r'<svg\b[^>]*? width="([0-9.]+)pt"')
_SIZE = re.compile(r'(<svg\b[^>]*?) width="[^"]*" height="[^"]*"|(<svg\b[^>]*?) height="[^"]*"')


def section(title: str, *parts: str) -> str:
    """Give a section; '' where it has no content."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def paragraph(text: str) -> str:
    """Give a paragraph of plain text."""
    return f"<p>{escape(text)}</p>" if text else ""


def facts(values: Mapping[str, str]) -> str:
    """Give names with their texts."""
    rows = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
        for name, text in values.items()
        if text
    )
    return f"<dl>\n{rows}\n</dl>" if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str) -> str:
    """Give a table whose first column names the row.

    On a narrow screen it scrolls by itself, also by keyboard.
    """
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{names}</tr></thead>\n"
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def bars(rows: Iterable[tuple[str, float, str]]) -> str:
    """Give a bar per row: name, share 0..1 of the full width, and a text."""
    lines = "\n".join(
        f'<div class="bar"><span>{escape(name)}</span><span class="track">'
        f'<span class="fill" style="width:{100 * min(1.0, max(0.0, share)):.2f}%"></span></span>'
        f"<span>{escape(text)}</span></div>"
        for name, share, text in rows
    )
    return f'<div class="bars">\n{lines}\n</div>' if lines else ""


def folded(summary: str, content: str) -> str:
    """Give content that opens on request."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def picture(path: Path, *, says: str, key: str) -> str:
    """Give an SVG file in the page's own colours; '' where there is no such file.

    `says` is for who does not see it; `key` keeps its names apart from those of other pictures.
    """
    if not path.is_file():
        return ""
    drawn = _HEAD.sub("", path.read_text(encoding="utf-8"))
    drawn = _IDS.sub(rf"\g<1>{key}-", drawn)
    width = _WIDTH.search(drawn)
    drawn = _SIZE.sub(lambda found: found[1] or found[2], drawn, count=1)
    for color, name in _COLORS.items():
        drawn = re.sub(color, f"var(--{name})", drawn, flags=re.IGNORECASE)
    # The frame scrolls on a narrow screen, also by keyboard; the drawing within is the image.
    most = f' style="max-width:{float(width[1]) * _ENLARGED:.0f}pt"' if width else ""
    drawn = drawn.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"{most}', 1)
    return f'<figure tabindex="0">\n{drawn}\n</figure>'


def photograph(jpeg: bytes, *, says: str, caption: str = "") -> str:
    """Give a JPEG as a part of the page; a caption has a swatch's place below it."""
    encoded = base64.b64encode(jpeg).decode("ascii")
    image = f'<img src="data:image/jpeg;base64,{encoded}" alt="{escape(says)}" loading="lazy">'
    below = f"<span>{escape(caption)}</span>" if caption else ""
    return f'<div class="view">{image}{below}</div>'


def card(views: Iterable[str], lines: Sequence[str], name: str) -> str:
    """Give images side by side, with lines of text below and the name of the file last."""
    texts = "".join(f"<span>{escape(line)}</span>" for line in lines)
    shown = "".join(views)
    return (
        f'<li class="card"><div class="views">{shown}</div>{texts}'
        f'<span class="name">{escape(name)}</span></li>'
    )


def gallery(cards: Iterable[str], *, views: int) -> str:
    """Give cards side by side, as many as fit; each has up to `views` images."""
    shown = "\n".join(cards)
    return f'<ul class="gallery of-{views}">\n{shown}\n</ul>' if shown else ""


def scale(colors: Sequence[str], *, least: str, most: str) -> str:
    """Give the colours of a map in a row, from `least` to `most`."""
    return (
        f'<p class="scale"><span>{escape(least)}</span>'
        f'<span class="ramp" style="background:linear-gradient(90deg,{",".join(colors)})"></span>'
        f"<span>{escape(most)}</span></p>"
    )
