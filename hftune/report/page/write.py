"""The page as a whole: its frame, and runs side by side."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from hftune import __version__
from hftune.files import write_text
from hftune.report.comparison import PICTURE, comparison_rows, plot_comparison
from hftune.report.finished import FinishedRun
from hftune.report.page.html import paragraph, picture, section, table
from hftune.report.page.images import image_sections
from hftune.report.page.runs import run_sections
from hftune.report.plots import draw_pictures

PAGE = "report.html"


def write_page(runs: Sequence[FinishedRun], path: Path, *, with_images: bool = True) -> Path:
    """Write the page of finished runs; their pictures are drawn anew.

    With several runs, a table and a picture of all come first. `with_images` opens the data of each
    run, and shows images of it. Side effect: draws into each run's folder. Raises RunFolderError
    for a file of a run that is missing or damaged, and DiskError.
    """
    parts: list[str] = []
    if len(runs) > 1:
        parts.append(_side_by_side(runs, path))
    for number, run in enumerate(runs):
        draw_pictures(run)
        if len(runs) > 1:
            parts.append(f'<h2 class="run" id="run-{number}">{escape(run.name)}</h2>')
        parts += run_sections(run, f"run{number}")
        if with_images:
            parts += image_sections(run)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, frame(title, parts))
    return path


def frame(title: str, parts: Sequence[str]) -> str:
    """Give the document; it asks nobody for anything."""
    style = files("hftune.report.page").joinpath("page.css").read_text(encoding="utf-8")
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
<footer>Written by hftune {escape(__version__)}.</footer>
</body>
</html>
"""


def _side_by_side(runs: Sequence[FinishedRun], path: Path) -> str:
    head, *rows = comparison_rows(runs)
    drawn = plot_comparison(runs, path.with_name(PICTURE))
    shown = picture(
        drawn.with_suffix(".svg"), says="Validation loss and metric of every run", key="all"
    )
    links = "".join(
        f'<li><a href="#run-{number}">{escape(run.name)}</a></li>'
        for number, run in enumerate(runs)
    )
    note = paragraph("Which differences are more than chance: hftune compare.")
    return section(
        "Side by side",
        table(head, rows, caption="The last split that all runs were judged on"),
        shown,
        note,
        f"<ul>{links}</ul>",
    )
