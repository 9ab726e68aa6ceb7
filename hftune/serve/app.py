"""The routes: a page, the model's facts, an answer for an image, and what a watcher asks for."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from PIL.Image import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hftune import __version__
from hftune.data.decode import decode
from hftune.errors import DataError
from hftune.export.config import transform_facts
from hftune.predict import Predictor, answer_values, rounded
from hftune.serve.batches import Batches
from hftune.serve.limits import Limits

_MOST_TOP = 1000
_RETRY_SECONDS = 1
# The page asks for nothing but answers of this very server.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src"
    " 'unsafe-inline'; img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action"
    " 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Refused(Exception):
    """A request that gets no answer: `status` and what to say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Model:
    """One model, answering over HTTP; `title` is how the page calls it."""

    def __init__(self, predictor: Predictor, limits: Limits, *, title: str) -> None:
        self.limits = limits
        self.title = title
        self.batches = Batches(predictor, limits)
        self.in_flight = 0
        self.statuses: Counter[int] = Counter()
        self.seconds = 0.0

    def app(self) -> Starlette:
        """Give the whole server as one ASGI application."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/model", self.facts),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
                Route("/predict", self.predict, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self.batches:
            yield

    async def page(self, _: Request) -> Response:
        """Give the page."""
        text = files("hftune.serve").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers=_HEADERS)

    async def health(self, _: Request) -> Response:
        """Say that requests are answered."""
        return JSONResponse({"status": "ready"})

    async def facts(self, _: Request) -> Response:
        """Give classes, transform and bounds."""
        predictor = self.batches.predictor
        return JSONResponse(
            {
                "title": self.title,
                "problem": predictor.labels.problem,
                "labels": list(predictor.labels.names),
                "transform": transform_facts(predictor.classifier.input_spec),
                "limits": {
                    "image_bytes": self.limits.image_bytes,
                    "in_flight": self.limits.in_flight,
                    "batch_size": self.limits.batch_size,
                },
                "hftune": __version__,
            }
        )

    async def metrics(self, _: Request) -> Response:
        """Give counters in the text format of Prometheus."""
        lines = [
            "# TYPE hftune_requests_total counter",
            *(
                f'hftune_requests_total{{status="{status}"}} {number}'
                for status, number in sorted(self.statuses.items())
            ),
            "# TYPE hftune_images_total counter",
            f"hftune_images_total {self.batches.images}",
            "# TYPE hftune_batches_total counter",
            f"hftune_batches_total {self.batches.batches}",
            "# TYPE hftune_request_seconds_total counter",
            f"hftune_request_seconds_total {self.seconds:.6f}",
            "# TYPE hftune_in_flight gauge",
            f"hftune_in_flight {self.in_flight}",
        ]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def predict(self, request: Request) -> Response:
        """Give what the model says about the image in the body."""
        started = time.monotonic()
        try:
            if self.in_flight >= self.limits.in_flight:
                raise Refused(503, "all places are taken; come back in a second")
            self.in_flight += 1
            try:
                response: Response = JSONResponse(await self._answer(request))
            finally:
                self.in_flight -= 1
        except Refused as refused:
            headers = {"Retry-After": str(_RETRY_SECONDS)} if refused.status == 503 else {}
            response = JSONResponse({"error": str(refused)}, refused.status, headers)
            if refused.status in (408, 413):  # the rest of the body is not read
                response.headers["Connection"] = "close"
        self.statuses[response.status_code] += 1
        self.seconds += time.monotonic() - started
        return response

    async def _answer(self, request: Request) -> dict[str, object]:
        top, threshold = _top(request), _threshold(request)
        image = await self._image(request)
        try:
            prediction = await self.batches.ask(image)
        except RuntimeError as error:
            raise Refused(500, "the model could not be run on this image") from error
        return rounded(answer_values(prediction, top=top, threshold=threshold))

    async def _image(self, request: Request) -> Image:
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.limits.image_bytes:
                        most = self.limits.image_bytes
                        raise Refused(413, f"an image may have {most:,} bytes at most")
        except TimeoutError as error:
            raise Refused(408, "the image took too long to arrive") from error
        except ClientDisconnect as error:
            raise Refused(400, "the client is gone") from error
        if not body:
            raise Refused(400, "the body of the request must be an image")
        try:
            return await run_in_threadpool(decode, bytes(body), name="the image")
        except DataError as error:
            raise Refused(422, f"{error.problem}: {error.found}") from error


def _top(request: Request) -> int:
    text = request.query_params.get("top", "5")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_TOP:
        raise Refused(400, f"top must be a number from 1 to {_MOST_TOP}")
    return int(text)


def _threshold(request: Request) -> float | None:
    text = request.query_params.get("threshold")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise Refused(400, "threshold must be a number from 0 to 1")
    return value
