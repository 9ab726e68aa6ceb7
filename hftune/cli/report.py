"""`hftune report RUN [RUN ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from hftune.report.comparison import PICTURE, comparison_table, plot_comparison, read_arms
from hftune.report.plots import draw_report


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    to: Annotated[
        Path | None, typer.Option(help="Where the picture of several runs goes; default: here.")
    ] = None,
) -> None:
    """Draw a run's pictures anew; of several runs print one table and draw one picture."""
    arms = read_arms(runs)
    print(comparison_table(arms))
    print()
    if len(runs) == 1:
        for picture in draw_report(runs[0]):
            print(picture)
    else:
        print(plot_comparison(arms, (to or Path()) / PICTURE))
