"""How much of the training time a process waited for its data, and what to do where it is much."""

import time

# A share of the time from which on loading is what limits a run.
_MUCH = 0.2


class Waiting:
    """Keeps the time since the last report, and how much of it was spent waiting for data."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._waited_before = 0.0
        self._reports = 0
        self._is_told = False

    def share(self, waited: float) -> float:
        """Give the share 0..1 since the last call, and begin anew; `waited` is all of it so far."""
        now = time.monotonic()
        share = (waited - self._waited_before) / max(now - self._since, 1e-9)
        self._since, self._waited_before = now, waited
        return min(1.0, max(0.0, share))

    def hint(self, share: float, *, workers: int | None) -> str | None:
        """Give what to say about a reported share; None where it is small, or was said before.

        The first report says nothing of the rest: the workers had only begun.
        """
        self._reports += 1
        if self._is_told or self._reports == 1 or share < _MUCH:
            return None
        self._is_told = True
        ways = "more data.workers, " if workers is not None else ""
        return (
            f"{share:.0%} of the time since the last report went into waiting for data: "
            f"{ways}a data.decoded_cache that holds all images, or smaller images, would help"
        )
