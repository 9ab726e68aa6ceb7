"""YAML 1.2 as recipes use it: its traps closed, every key with its line."""

from pathlib import Path

import pytest

from hftune.errors import RecipeError
from hftune.recipe.read import Node, dotted, plain, read_file, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("6E5", 600000.0),
        (".5", 0.5),
        ("0x10", 16),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("2026-09-01", "2026-09-01"),
        ("5%", "5%"),
        ("3x", "3x"),
        ("timm/resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("org/name@0123456", "org/name@0123456"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"null"', "null"),
        ("!!str 1", "1"),
        ("[head, stage.-1]", ["head", "stage.-1"]),
        ("{name: adamw, betas: [0.9, 0.99]}", {"name": "adamw", "betas": [0.9, 0.99]}),
    ],
)
def test_a_value_reads_as_yaml_12(text: str, value: object) -> None:
    found = plain(read_value(text, "optim.lr"))
    assert found == value
    assert type(found) is type(value)


def test_keys_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("1: a\nno: b\nnull: c\n<<: d\n")
    assert plain(read_file(path)) == {"1": "a", "no": "b", "null": "c", "<<": "d"}


def test_every_key_and_item_knows_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.yaml").write_text("# first\na: 1\nb:\n  c:\n    - x\n    - {d: y}\n")
    root = read_file(Path("lines.yaml"))
    assert _places(root) == {
        "": "lines.yaml:1",
        "a": "lines.yaml:2",
        "b": "lines.yaml:3",
        "b.c": "lines.yaml:4",
        "b.c[0]": "lines.yaml:5",
        "b.c[1]": "lines.yaml:6",
        "b.c[1].d": "lines.yaml:6",
    }


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert plain(read_file(path)) == {}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "mark.yaml"
    path.write_text("run: x\n", encoding="utf-8-sig")
    assert plain(read_file(path)) == {"run": "x"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [1\nb: 2", "YAML cannot be read: while parsing a flow sequence, expected"),
        (b"a: b: c", "YAML cannot be read: mapping values are not allowed here"),
        (b"\ta: 1", "cannot start any token"),
        (b"a: 1\n---\nb: 2", "expected a single document"),
        (b"a: \x00", "YAML cannot be read: unacceptable character"),
        (b"a: \xff", "this is not a text file in UTF-8 (byte 3)"),
        (b"- a", "this is a list; a recipe is a mapping of settings to values"),
        (b"text", "this is text; a recipe is a mapping of settings to values"),
        (b"%YAML 1.1\n---\na: no", "recipes are YAML 1.2 without directives"),
        (b"a: !mine 1", "the tag !mine is not used in recipes"),
        (b"a: !!python/name:os.system x", "python/name:os.system is not used in recipes"),
        (b"a: !!set {b}", "set is not used in recipes"),
        (b"a: &x [1]\nb: *x", "aliases (*name) are not used in recipes; write the value out"),
        (b"a: &x [*x]", "aliases (*name) are not used in recipes; write the value out"),
        (b"a: .nan", ".nan is not possible; give a finite number"),
        (b"a: -.inf", "-.inf is not possible; give a finite number"),
        (b"a: 1e999", "1e999 is not possible; give a finite number"),
        (b"a: !!int x", "'x' cannot be read as int; put it in quotes"),
        (b"a: " + b"1" * 5000, "cannot be read as int; put it in quotes"),
        (b"? [a, b]\n: 1", "a key must be a name, not a list or mapping"),
        (b"a: " + b"[" * 700, "blocks are nested too deeply"),
    ],
)
def test_what_is_no_plain_data_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_file(path)
    assert sentence in caught.value.problems[0].text
    assert caught.value.problems[0].place.startswith(f"{path}")


def test_every_repeated_key_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    with pytest.raises(RecipeError) as caught:
        read_file(path)
    found = [(problem.setting, problem.place, problem.text) for problem in caught.value.problems]
    assert found == [
        ("b.c", f"{path}:4", "set twice; line 3 sets it before"),
        ("a", f"{path}:5", "set twice; line 1 sets it before"),
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("optim", "lr"), "optim.lr"),
        (("unfreeze", 1, "at"), "unfreeze[1].at"),
        (("optim", "rates", "stage.-1"), 'optim.rates."stage.-1"'),
        ((), ""),
    ],
)
def test_settings_are_named_as_overrides_name_them(path: tuple[str | int, ...], name: str) -> None:
    assert dotted(path) == name


def _places(node: Node, path: tuple[str | int, ...] = ()) -> dict[str, str]:
    found = {dotted(path): node.place}
    if isinstance(node.value, tuple):
        for index, child in enumerate(node.value):
            found |= _places(child, (*path, index))
    elif not isinstance(node.value, str | int | float | None):
        for key, child in node.value.items():
            found |= _places(child, (*path, key))
    return found
