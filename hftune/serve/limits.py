"""What a client may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one server.

    `batch_size` images go through the model at once; the first of them waits at most `wait` seconds
    for others. `in_flight` requests are worked on at once, all others are told to come back.
    `image_bytes` is the largest image, and `upload_seconds` the longest that one may take to come.
    """

    batch_size: int = 16
    wait: float = 0.005
    in_flight: int = 64
    image_bytes: int = 20 * 2**20
    upload_seconds: float = 30.0
