"""Requests a second and how long they take, from clients of a stated number at once.

    python -m benchmarks.serving [--architecture NAME] [--clients 1 8 32] [--seconds 20]

Starts `hftune serve` over random weights in a process of its own, and asks it from threads of this
one, each as soon as it has its answer. Prints Markdown. Behind one bound the last line shows what
more clients get than are let in: `--in-flight` is half of the most clients there.
"""

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from benchmarks.prepare import write_random
from hftune.train.run_folder import processor_name


def jpeg(side: int) -> bytes:
    """Draw one JPEG image."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def name_classes(config: Path) -> None:
    """Give every class a name, without which nothing can be answered."""
    values = json.loads(config.read_text())
    values["label_names"] = [f"class {number}" for number in range(values["num_classes"])]
    config.write_text(json.dumps(values))


@contextmanager
def serving(model: Path, *words: str) -> Iterator[tuple[str, int]]:
    """Give host and port of a server, which ends with the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hftune", "serve", str(model), "--port", "0", "--json", *words],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address = urlsplit(json.loads(process.stdout.readline())["endpoint"])
        assert address.hostname is not None
        assert address.port is not None
        yield address.hostname, address.port
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def load(place: tuple[str, int], body: bytes, *, clients: int, seconds: float) -> dict[str, float]:
    """Ask from `clients` threads for so long; give what came of it."""
    end = time.perf_counter() + seconds
    taken: list[float] = []
    statuses: Counter[int] = Counter()

    def ask() -> None:
        connection = http.client.HTTPConnection(*place, timeout=60)
        while time.perf_counter() < end:
            before = time.perf_counter()
            connection.request("POST", "/predict", body)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
            if answer.status == 200:
                taken.append(time.perf_counter() - before)
            else:  # as it was told
                time.sleep(float(answer.headers.get("Retry-After", "0")))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(taken) / (time.perf_counter() - started)
    cuts = statistics.quantiles(taken, n=100)
    return {
        "rate": rate, "median": cuts[49], "p95": cuts[94], "p99": cuts[98],
        "refused": statuses[503], "failed": statuses.total() - statuses[200] - statuses[503],
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--image", type=int, default=300, help="pixels of a side")
    wanted = parser.parse_args()
    body = jpeg(wanted.image)
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    print(f"{wanted.architecture}, JPEG {wanted.image} px, {machine}\n")
    print(
        "| clients | in flight at most | requests/s | median, ms | 95 % | 99 % | refused | failed |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    most = max(wanted.clients)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        write_random(model, wanted.architecture)
        name_classes(model / "config.json")
        for bound, numbers in ((64, wanted.clients), (max(1, most // 2), [most])):
            with serving(model, "--in-flight", str(bound)) as place:
                load(place, body, clients=1, seconds=2.0)  # warms up
                for clients in numbers:
                    one = load(place, body, clients=clients, seconds=wanted.seconds)
                    times = " | ".join(
                        f"{1000 * one[name]:.0f}" for name in ("median", "p95", "p99")
                    )
                    print(
                        f"| {clients} | {bound} | {one['rate']:.1f} | {times} "
                        f"| {one['refused']:.0f} | {one['failed']:.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
