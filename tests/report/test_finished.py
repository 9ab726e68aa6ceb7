"""A finished run is read once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hftune.errors import RequestError, RunFolderError
from hftune.report.comparison import comparison_table
from hftune.report.finished import read_finished, read_several, tell_apart
from hftune.report.page.runs import run_sections
from hftune.report.plots import draw_pictures
from tests.finished_numbers import write_finished_numbers


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    """Pictures and sections come out of what was read, once the files are gone."""
    run = read_finished(write_finished_numbers(tmp_path / "run"))
    assert run.recipe.problem == run.model.problem
    assert (len(run.data.splits), len(run.predictions), run.history.last.step) == (3, 1, 40)
    for path in run.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [path.stem for path in draw_pictures(run)] == [
        "learning_curves", "throughput", "agreement",
    ]  # fmt: skip
    assert "<h2>Agreement</h2>" in "".join(run_sections(run, "a"))


def test_the_final_split_is_test_where_there_is_one(make_run: Callable[..., Path]) -> None:
    run = read_finished(make_run())
    assert run.final is not None
    assert (run.final.split, run.final_said, run.calibration) == ("test", None, None)


def test_a_run_that_is_not_finished_or_named_twice_is_refused(
    make_run: Callable[..., Path],
) -> None:
    run = make_run()
    with pytest.raises(RequestError, match="named twice"):
        read_several([run, run / "."])
    (run / "results.json").unlink()
    with pytest.raises(RunFolderError, match=r"no results\.json"):
        read_finished(run)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/w/one"], ["one"]),
        (["/w/one", "/w/two"], ["one", "two"]),
        (["/w/a/run", "/w/b/run", "/w/c"], ["a/run", "b/run", "c"]),
        (["/w/a/x/run", "/w/b/x/run", "/w/b/y/run"], ["a/x/run", "b/x/run", "y/run"]),
    ],
)
def test_runs_of_one_name_are_told_apart(folders: list[str], names: list[str]) -> None:
    assert tell_apart([Path(folder) for folder in folders]) == names


def test_the_page_and_its_table_call_runs_what_tells_them_apart(
    make_run: Callable[..., Path],
) -> None:
    runs = read_several([make_run("a/run"), make_run("b/run")])
    assert [run.name for run in runs] == ["a/run", "b/run"]
    table = comparison_table(runs)
    assert "a/run" in table
    assert "b/run" in table
