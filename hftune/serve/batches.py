"""Images of many requests, answered together."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

from PIL.Image import Image

from hftune.predict import Prediction, Predictor
from hftune.serve.limits import Limits

Asked = tuple[Image, asyncio.Future[Prediction]]


class Batches:
    """Takes one image at a time and runs the model on what has come by then.

    Used within `async with`. One thread computes, so requests are answered in turn while others
    are being received and decoded.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor = predictor
        self.limits = limits
        self.batches = self.images = 0
        self._waiting: asyncio.Queue[Asked] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "hftune-model")

    async def __aenter__(self) -> Self:
        """Begin to answer."""
        self._task = asyncio.create_task(self._answer_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End; what still waits is not answered."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._thread.shutdown()

    async def ask(self, image: Image) -> Prediction:
        """Give what the model says about an image."""
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((image, answer))
        return await answer

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = await self._collect()
            images = [image for image, _ in asked]
            try:
                said = await loop.run_in_executor(self._thread, self._predict, images)
            except RuntimeError as error:  # memory, most often; the server goes on
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            self.batches += 1
            self.images += len(asked)
            for (_, answer), prediction in zip(asked, said, strict=True):
                if not answer.done():  # its client may be gone
                    answer.set_result(prediction)

    async def _collect(self) -> list[Asked]:
        """Wait for one image, then for others, until a batch is full or the first has waited."""
        asked = [await self._waiting.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.wait):
                while len(asked) < self.limits.batch_size:
                    asked.append(await self._waiting.get())
        return asked

    def _predict(self, images: Sequence[Image]) -> list[Prediction]:
        return list(self.predictor.answers([Path()] * len(images), images))
