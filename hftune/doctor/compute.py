"""What computes here, in which precision, seen by a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hftune.doctor.finding import Finding, fault, fine
from hftune.units import format_size

TOPIC = "compute"
IMPORTED = ("torch", "torchvision", "timm", "accelerate")

_LOOK = Path(__file__).with_name("look.py")
_SECONDS = 300
_NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))


def look() -> tuple[dict[str, dict[str, Any]], str]:
    """Give what each library says by its name, and the last line that the process complained of."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_LOOK)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        printed, complaint = done.stdout, done.stderr
        ended = f"ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        printed, complaint, ended = "", "", f"did not end within {_SECONDS} s"
    answers = [json.loads(line) for line in printed.splitlines()]
    lines = [line for line in complaint.splitlines() if line.strip()]
    return {answer["package"]: answer for answer in answers}, (lines or [ended])[-1].strip()


def check_compute(said: Mapping[str, Mapping[str, Any]], complaint: str) -> Iterator[Finding]:
    """Judge what `look` gave: a library that fails, the devices, and their precision."""
    failing = next((name for name in IMPORTED if name not in said), None)
    if failing is not None:
        yield fault(
            TOPIC,
            f"{failing} cannot be imported: {complaint}",
            "install torch and torchvision anew, together and from one index",
        )
    torch = said.get("torch")
    if torch is None:
        return
    if torch["devices"]:
        yield from _gpus(torch)
    else:
        yield from _no_gpu(torch)


def _gpus(torch: Mapping[str, Any]) -> Iterator[Finding]:
    for index, device in enumerate(torch["devices"]):
        yield fine(TOPIC, f"GPU {index}: {device['name']}, {format_size(device['memory'])}")
    if all(device["capability"] >= [8, 0] for device in torch["devices"]):
        yield fine(TOPIC, "precision: fp32 (as TF32), fp16, bf16; train.precision: auto takes bf16")
    else:
        yield fine(TOPIC, "precision: fp32, fp16; train.precision: auto takes fp16")


def _no_gpu(torch: Mapping[str, Any]) -> Iterator[Finding]:
    build = "no CUDA" if torch["cuda"] is None else f"CUDA {torch['cuda']}"
    if any(place.exists() for place in _NVIDIA):
        if torch["cuda"] is None:
            remedy = "install a torch that was built for CUDA, and torchvision with it"
        else:
            remedy = (
                "see nvidia-smi: a driver that is too old, no device, or a container without it"
            )
        yield fault(TOPIC, f"an NVIDIA driver, but torch ({build}) sees no GPU", remedy)
    else:
        yield fine(TOPIC, f"no GPU; torch computes with {torch['threads']} threads of the CPU")
    if torch["cpu_bf16"]:
        yield fine(TOPIC, "precision: fp32, bf16; train.precision: auto takes fp32")
    else:
        yield fine(TOPIC, "precision: fp32; this processor has no instructions for bf16")
