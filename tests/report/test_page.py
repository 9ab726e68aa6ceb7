"""The page: what it holds, that it asks nobody, and how a real browser shows it."""

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hftune.cli.main import invoke
from hftune.report.finished import read_several
from hftune.report.page import write_page
from hftune.report.page.html import bars, picture, table
from tests.finished_numbers import write_finished_numbers

Make = Callable[..., Path]

VOID = {"meta", "img", "br", "link", "input"}


class Strict(HTMLParser):
    """Checks that what is opened is closed, in order; keeps ids and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(attributes)

    def handle_startendtag(self, _: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(str(value))


def parse(page: Path) -> Strict:
    found = Strict()
    found.feed(page.read_text(encoding="utf-8"))
    assert found.open == []
    return found


def test_a_page_of_one_run_is_whole_and_asks_nobody(make_run: Make, tmp_path: Path) -> None:
    page = write_page(
        read_several([make_run()]), tmp_path / "new" / "report.html", with_images=False
    )
    found = parse(page)
    assert len(set(found.ids)) == len(found.ids)
    assert all(one.startswith(("#", "data:")) for one in found.addresses)
    text = page.read_text(encoding="utf-8")
    for title in ("Results", "Curves", "Speed", "Confusion", "Classes", "Data"):
        assert f"<h2>{title}</h2>" in text
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_pictures_take_the_colours_of_the_page(make_run: Make, tmp_path: Path) -> None:
    page = write_page(read_several([make_run()]), tmp_path / "report.html", with_images=False)
    text = page.read_text(encoding="utf-8")
    assert "var(--text)" in text[text.index("<figure") :]
    assert "#1b1f26" not in text[text.index("<figure") :].lower()


def test_several_runs_stand_side_by_side_with_names_of_their_own(
    make_run: Make, tmp_path: Path
) -> None:
    runs = [make_run("one"), make_run("two")]
    page = write_page(read_several(runs), tmp_path / "report.html", with_images=False)
    found = parse(page)
    assert len(set(found.ids)) == len(found.ids)
    targets = [one[1:] for one in found.addresses if one.startswith("#run-")]
    assert targets == ["run-0", "run-1"]
    assert set(targets) <= set(found.ids)
    assert (tmp_path / "comparison.svg").is_file()


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_every_problem_has_a_page(problem: str, make_run: Make, tmp_path: Path) -> None:
    run = (
        write_finished_numbers(tmp_path / "ages")
        if problem == "regression"
        else make_run(problem=problem)
    )
    text = write_page(read_several([run]), tmp_path / "report.html", with_images=False).read_text()
    assert ("<h2>Agreement</h2>" in text) == (problem == "regression")
    assert "<h2>Confusion</h2>" not in text


def test_what_comes_from_a_run_is_text_and_nothing_else(make_run: Make, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = make_run(labels=(evil, "a & b", "c"))
    text = write_page(read_several([run]), tmp_path / "report.html", with_images=False).read_text()
    assert "<script" not in text
    assert "a &amp; b" in text


def test_pieces() -> None:
    assert table(["", "x<"], [["a", "b&"]], caption="c").count("&") == 2
    assert 'style="width:100.00%"' in bars([("a", 1.5, "")])
    assert picture(Path("none.svg"), says="", key="k") == ""


def test_a_page_without_its_data_says_so(make_run: Make, tmp_path: Path) -> None:
    page = write_page(read_several([make_run()]), tmp_path / "report.html")
    assert "The images of this run are not shown" in page.read_text()


def test_the_verb_writes_page_and_pictures(
    make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    assert invoke(["report", str(run), "--no-images"]) == 0
    assert str(run / "report" / "report.html") in capsys.readouterr().out
    for name in ("learning_curves", "per_class", "confusion"):
        assert (run / "report" / f"{name}.png").is_file()
        assert (run / "report" / f"{name}.svg").is_file()


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser on this machine")
def test_a_browser_shows_it_in_both_schemes_and_on_a_narrow_screen(
    make_run: Make, make_seeing_run: Make, tmp_path: Path
) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("torchcam")
    runs = [make_run("one"), make_seeing_run()]
    page = write_page(read_several(runs), tmp_path / "report.html")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((1100, "light"), (1100, "dark"), (390, "light"), (390, "dark")):
            tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            complaints: list[str] = []
            tab.on("console", lambda message, told=complaints: told.append(message.text))
            tab.on("pageerror", lambda error, told=complaints: told.append(str(error)))
            tab.on("request", lambda request, told=complaints: told.append(request.url))
            tab.goto(page.as_uri())
            asked = [one for one in complaints if not one.startswith(("data:", page.as_uri()))]
            assert asked == []
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            look(tab, scheme)
            tab.close()
        browser.close()


def look(tab: object, scheme: str) -> None:
    """Check colours, images and what a keyboard reaches on an open page."""
    say = tab.evaluate
    ground = brightness(say("getComputedStyle(document.body).backgroundColor"))
    panel = brightness(say("getComputedStyle(document.querySelector('section')).backgroundColor"))
    assert min(ground, panel) > 200 if scheme == "light" else max(ground, panel) < 60
    for place in ("figure svg text", "p", "h2", "td", "dt", ".card .name", "caption"):
        style = f"getComputedStyle(document.querySelector('{place}'))"
        ink = say(f"{style}.fill" if "svg" in place else f"{style}.color")
        assert abs(brightness(ink) - panel) > 90, place
    # All have words for who does not see them, and all are there: also those further down.
    assert say("[...document.images].every(image => image.alt !== '')")
    say("for (const image of document.images) image.loading = 'eager'")
    say("Promise.all([...document.images].map(image => image.decode()))")
    assert say("document.querySelectorAll('img[alt^=\"Heat map\"]').length") > 4
    assert say("document.querySelectorAll('svg:not([aria-label])').length") == 0
    assert say("document.querySelectorAll('table > caption').length") == say(
        "document.querySelectorAll('table').length"
    )
    assert say("document.querySelectorAll('h1').length") == 1
    for place in (".scroll", "figure", "a"):  # what scrolls or leads elsewhere
        assert say(f"document.querySelector('{place}').tabIndex") == 0


def brightness(color: str) -> float:
    red, green, blue = map(int, re.findall(r"\d+", color)[:3])
    return 0.3 * red + 0.6 * green + 0.1 * blue
