"""`hftune report RUN [RUN ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from hftune.report.comparison import PICTURE, comparison_table, plot_comparison
from hftune.report.finished import read_several
from hftune.report.page import PAGE, write_page
from hftune.report.plots import draw_pictures


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the page, and of the picture of several runs; default: the"
            " run's report, or here for several."
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Also write report.html, one file.")
    ] = True,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show images of the data on the page.")
    ] = True,
) -> None:
    """Draw a run's pictures anew, and write a page that opens from disk; of several runs one page.

    The table of the runs is printed as well.
    """
    finished = read_several(runs)
    print(comparison_table(finished))
    print()
    folder = to or (runs[0] / "report" if len(runs) == 1 else Path())
    if page:
        print(write_page(finished, folder / PAGE, with_images=images))
    elif len(runs) == 1:
        for picture in draw_pictures(finished[0]):
            print(picture)
    else:
        print(plot_comparison(finished, folder / PICTURE))
