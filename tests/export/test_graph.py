"""Graphs: each form runs without hftune, for any number of images, and agrees with the model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hftune.cli.main import invoke
from hftune.convert import convert
from hftune.errors import PublishError, RequestError
from hftune.export.artifact import build_artifact
from hftune.export.graph import FILES, Form, Trial, compare_graph, run_graph, write_graph
from hftune.export.probe import PROBE, drawn_images, make_probe, read_probe
from hftune.model.published import load_trained
from hftune.train.run_facts import read_run
from tests.data.squares import write_squares

Make = Callable[..., Path]

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [
    pytest.mark.slow,
    # onnxscript, torch.export and ONNX Runtime's tools use what newer Pythons and torch retire.
    pytest.mark.filterwarnings("ignore"),
]


def test_every_form_of_a_run_gives_its_logits(make_run: Make) -> None:
    run = make_run()
    folder = build_artifact(run).folder
    graphs = convert(str(run), ["onnx", "onnx-fp16", "torch"])
    probe = read_probe(folder / PROBE)
    trial = Trial(pixels=probe.pixels, logits=probe.logits, spec=probe.spec)
    limits: dict[Form, float] = {"onnx": 1e-5, "onnx-fp16": 1e-2, "torch": 1e-6}
    for graph in graphs:
        assert graph.path == run / "exported" / FILES[graph.form]
        assert graph.gap <= limits[graph.form]
        assert (graph.images, graph.same) == (3, 1.0)
        for logits in run_graph(graph.form, graph.path, trial.inputs[:2]):
            assert torch.allclose(logits, probe.logits[:2], atol=limits[graph.form])
    whole, half, _ = (graph.path.stat().st_size for graph in graphs)
    assert half < 0.62 * whole
    assert sorted(path.name for path in (run / "exported").iterdir()) == sorted(
        ["model.onnx", "model_fp16.onnx", "model.pt2"]
    )


def test_an_onnx_file_says_what_it_needs_and_what_it_means(make_run: Make, tmp_path: Path) -> None:
    folder = build_artifact(make_run()).folder
    (graph,) = convert(str(folder), ["onnx"], to=tmp_path / "out")
    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    (given,), (gives,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == (
        "pixel_values", "tensor(float)", [3, 64, 64]
    )  # fmt: skip
    assert isinstance(given.shape[0], str)
    assert (gives.name, gives.shape[1:]) == ("logits", [3])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["hftune.labels"]) == ["bad", "good", "odd"]
    assert said["hftune.problem"] == "single_label"
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    for key, value in json.loads(said["hftune.transform"]).items():
        assert config[key] == value
    model = onnx.load(graph.path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


RECIPE = """run: squares
model: {{architecture: test_resnet, pretrained: false}}
data: {{source: {{name: hub_dataset, repo: {repo}, config: null}}}}
"""


def test_eight_bits_take_their_ranges_from_images(make_run: Make, tmp_path: Path) -> None:
    repo = write_squares(tmp_path / "squares", train=24, val=20)
    recipe = tmp_path / "squares.yaml"
    recipe.write_text(RECIPE.format(repo=repo))
    run = make_run(labels=("dark", "light"))
    whole, eight = convert(str(run), ["onnx", "onnx-int8"], data=str(recipe))
    assert eight.images == 20
    assert eight.same >= 0.95
    assert eight.path.stat().st_size < 0.6 * whole.path.stat().st_size
    kinds = {node.op_type for node in onnx.load(eight.path).graph.node}
    assert "QuantizeLinear" in kinds


def test_eight_bits_without_data_are_refused(tmp_path: Path, make_run: Make) -> None:
    folder = build_artifact(make_run()).folder
    (folder / "hftune" / "recipe.yaml").unlink()
    with pytest.raises(RequestError, match="8-bit numbers need images"):
        convert(str(folder), ["onnx-int8"], to=tmp_path)


def test_a_file_that_gives_something_else_is_not_kept(make_run: Make, tmp_path: Path) -> None:
    facts = read_run(make_run())
    trained = load_trained(
        facts.model.base, facts.weights, input_spec=facts.model.input_spec, labels=facts.labels
    )
    probe = make_probe(trained, drawn_images(3))
    wrong = Trial(pixels=probe.pixels, logits=probe.logits + 0.01, spec=probe.spec)
    with pytest.raises(PublishError, match="other logits than the model; it is not kept"):
        write_graph(trained, "torch", tmp_path / "model.pt2", wrong, calibration=None)
    assert list(tmp_path.glob("*.pt2")) == []
    assert list(tmp_path.glob(".graph-*")) == []


@pytest.mark.parametrize(
    ("form", "logits", "fits"),
    [
        ("onnx", [[1.0, 0.0]], True),
        ("onnx", [[1.001, 0.0]], False),
        ("onnx-fp16", [[1.001, 0.0]], True),
        ("onnx-fp16", [[float("nan"), 0.0]], False),
        ("onnx-int8", [[2.0, 0.0]], True),
        ("onnx-int8", [[0.0, 1.0]], False),
    ],
)
def test_what_each_form_may_differ_by(form: Form, logits: list[list[float]], fits: bool) -> None:
    facts = Trial(pixels=torch.zeros(1), logits=torch.tensor([[1.0, 0.0]]), spec=None)
    given = [facts.logits, torch.tensor(logits)]
    if fits:
        assert compare_graph(form, Path("x"), facts, given).images == 1
        return
    with pytest.raises(PublishError, match="not kept"):
        compare_graph(form, Path("x"), facts, given)


def test_the_verb_writes_what_is_asked_for(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    assert invoke(["export", str(run), "--torch", "--to", str(tmp_path), "--json"]) == 0
    (graph,) = json.loads(capsys.readouterr().out)
    assert graph["path"] == str(tmp_path / "model.pt2")
    assert graph["gap"] <= 1e-5
    assert graph["size"] > 100_000
    assert not (run / "artifact").exists()
