"""A model behind HTTP, asked by real clients."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Image as Picture

from hftune.predict import Prediction, Predictor, load_predictor
from hftune.serve import Limits, RunningModel, running
from tests.finished import write_finished_run
from tests.finished_numbers import write_finished_numbers

Make = Callable[..., Path]


def picture(seed: int = 0, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((80, 70)).save(stream, form)
    return stream.getvalue()


def ask(url: str, body: bytes | None = None) -> tuple[int, dict[str, object], dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as answer:
            return answer.status, json.loads(answer.read()), lower(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), lower(error.headers)


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    run = write_finished_run(tmp_path_factory.mktemp("runs") / "tiny-run")
    return load_predictor(run, device="cpu")


@pytest.fixture(scope="module")
def model(predictor: Predictor) -> Iterator[RunningModel]:
    with running(predictor, title="tiny-run") as answering:
        yield answering


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_gets_what_predict_says(
    form: str, model: RunningModel, predictor: Predictor, tmp_path: Path
) -> None:
    body = picture(form=form)
    (tmp_path / "image").write_bytes(body)
    (said,) = predictor.stream([tmp_path / "image"])
    status, answer, _ = ask(f"{model.endpoint}/predict?top=2", body)
    assert status == 200
    assert answer["labels"] == [said.label]
    assert list(answer["scores"]) == list(said.scores)[:2]
    assert answer["scores"][said.label] == pytest.approx(said.score, abs=2e-6)


def test_a_threshold_may_leave_no_label(model: RunningModel) -> None:
    _, answer, _ = ask(f"{model.endpoint}/predict?threshold=1", picture())
    assert answer["labels"] == []
    assert len(answer["scores"]) == 3


def test_a_number_is_answered_by_its_name(tmp_path: Path) -> None:
    predictor = load_predictor(write_finished_numbers(tmp_path / "ages"), device="cpu")
    with running(predictor, title="ages") as model:
        status, answer, _ = ask(f"{model.endpoint}/predict", picture())
    assert status == 200
    assert list(answer["numbers"]) == ["age"]


def test_facts_health_and_counters(model: RunningModel) -> None:
    _, facts, _ = ask(f"{model.endpoint}/model")
    assert (facts["title"], facts["labels"]) == ("tiny-run", ["bad", "good", "odd"])
    assert facts["transform"]["input_size"] == [3, 64, 64]
    assert ask(f"{model.endpoint}/health")[1] == {"status": "ready"}
    ask(f"{model.endpoint}/predict", picture())
    with urllib.request.urlopen(f"{model.endpoint}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    counted = dict(line.split(" ") for line in lines if not line.startswith("#"))
    assert int(counted['hftune_requests_total{status="200"}']) >= 1
    assert int(counted["hftune_images_total"]) >= int(counted["hftune_batches_total"]) >= 1
    assert counted["hftune_in_flight"] == "0"


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("", b"no image", 422, "this image cannot be read"),
        ("", b"", 400, "must be an image"),
        ("?top=0", b"x", 400, "top must be a number"),
        ("?top=9999999999", b"x", 400, "top must be a number"),
        ("?threshold=nan", b"x", 400, "threshold must be"),
        ("?threshold=2", b"x", 400, "threshold must be"),
    ],
)
def test_what_is_wrong_is_said(
    model: RunningModel, query: str, body: bytes, status: int, words: str
) -> None:
    code, answer, _ = ask(f"{model.endpoint}/predict{query}", body)
    assert code == status
    assert words in str(answer["error"])


def test_an_image_that_is_too_large_is_refused_while_it_comes(predictor: Predictor) -> None:
    with running(predictor, title="t", limits=Limits(image_bytes=1000)) as model:
        status, answer, headers = ask(f"{model.endpoint}/predict", b"x" * 1001)
    assert (status, headers["connection"]) == (413, "close")
    assert "1,000 bytes" in str(answer["error"])


def test_who_sends_too_slowly_is_let_go(predictor: Predictor) -> None:
    with running(predictor, title="t", limits=Limits(upload_seconds=0.2)) as model:
        host, port = model.endpoint.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
            assert client.recv(200).startswith(b"HTTP/1.1 408")


class Slow(Predictor):
    """Answers when it is let; notes how many images came at once."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.classifier, predictor.device)
        self.may_go = threading.Event()
        self.began = threading.Event()
        self.sizes: list[int] = []

    def answers(self, paths: list[Path], images: list[Picture]) -> Iterator[Prediction]:
        self.sizes.append(len(images))
        self.began.set()
        self.may_go.wait(30)
        return super().answers(paths, images)


def test_requests_that_come_together_go_through_the_model_together(predictor: Predictor) -> None:
    slow = Slow(predictor)
    with running(slow, title="t") as model, ThreadPoolExecutor(9) as clients:
        url = f"{model.endpoint}/predict"
        first = clients.submit(ask, url, picture())
        assert slow.began.wait(30)
        others = [clients.submit(ask, url, picture(seed)) for seed in range(1, 9)]
        wait_until(lambda: in_flight(model) == 9)
        slow.may_go.set()
        answers = [one.result() for one in (first, *others)]
    assert [status for status, _, _ in answers] == [200] * 9
    assert slow.sizes[0] == 1
    assert max(slow.sizes) > 1
    for seed, (_, answer, _) in enumerate(answers):  # each gets its own
        (said,) = predictor.answers([Path()], [Image.open(io.BytesIO(picture(seed)))])
        assert answer["scores"][said.label] == pytest.approx(said.score, abs=1e-5)


def in_flight(model: RunningModel) -> int:
    with urllib.request.urlopen(f"{model.endpoint}/metrics", timeout=30) as answer:
        return int(answer.read().split()[-1])


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")


def test_overload_is_told_to_come_back_and_others_are_served(predictor: Predictor) -> None:
    slow = Slow(predictor)
    limits = Limits(in_flight=2)
    with running(slow, title="t", limits=limits) as model, ThreadPoolExecutor(2) as clients:
        url = f"{model.endpoint}/predict"
        served = [clients.submit(ask, url, picture(seed)) for seed in range(2)]
        wait_until(lambda: in_flight(model) == 2)
        status, answer, headers = ask(url, picture(3))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "come back" in str(answer["error"])
        assert ask(f"{model.endpoint}/health")[0] == 200
        slow.may_go.set()
        assert [one.result()[0] for one in served] == [200, 200]
        assert ask(url, picture(3))[0] == 200


class Failing(Predictor):
    def answers(self, *_: object) -> Iterator[Prediction]:
        raise RuntimeError("out of memory")


def test_a_model_that_fails_ends_that_request_alone(predictor: Predictor) -> None:
    failing = Failing(predictor.classifier, predictor.device)
    with running(failing, title="t") as model:
        assert ask(f"{model.endpoint}/predict", picture())[0] == 500
        assert ask(f"{model.endpoint}/predict", picture())[0] == 500
        assert ask(f"{model.endpoint}/health")[0] == 200


def test_the_page_asks_nobody_else(model: RunningModel) -> None:
    with urllib.request.urlopen(model.endpoint, timeout=30) as answer:
        text, headers = answer.read().decode(), answer.headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "https://" not in text
    assert "http://" not in text


@pytest.mark.slow
def test_the_verb_answers_until_a_signal_comes(make_run: Make) -> None:
    words = [sys.executable, "-m", "hftune", "serve", str(make_run()), "--port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    endpoint = json.loads(process.stdout.readline())["endpoint"]
    assert ask(f"{endpoint}/predict", picture())[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    process.stdout.close()
