"""Weight files: safetensors in and out, pickles only when asked, and every tensor's fate."""

from __future__ import annotations

import argparse
import json
import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hftune.core import WeightsReport
from hftune.errors import WeightsError
from hftune.files import write_bytes
from hftune.model.layer_map import is_under

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_WRAPPERS = ("module.", "_orig_mod.")
_NESTED = ("state_dict_ema", "model_ema", "ema", "state_dict", "model")
_POINTER = b"version https://git-lfs"
_SHOWN = 4


def read_weights(
    path: Path, *, strip_prefix: str | None = None, allow_pickle: bool = False
) -> dict[str, Tensor]:
    """Read the tensors of a weight file, on the CPU, by their names without wrappers.

    Pickled files are read only with `allow_pickle`, and then tensors only. In a training checkpoint
    averaged weights are preferred. Names outside `strip_prefix` are kept as they are. Raises
    WeightsError when the file is missing, damaged, pickled or holds no tensors.
    """
    _refuse_unreadable(path)
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix in PICKLED:
        tensors = _read_pickle(path, allow_pickle=allow_pickle)
    else:
        raise WeightsError(
            "this file is no weight file",
            found=path.name,
            allowed=f".safetensors, or with model.allow_pickle {', '.join(PICKLED)}",
            where=str(path),
        )
    tensors = _renamed(tensors, {name: _unwrapped(name) for name in tensors}, path)
    return tensors if strip_prefix is None else _stripped(tensors, strip_prefix, path)


def load_into(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    head: Iterable[str] = (),
    where: str | None = None,
) -> WeightsReport:
    """Copy `tensors` into `module`, except below the modules named in `head`, and report.

    Side effect: changes the module's values, all of them or (on an error) none. Raises WeightsError
    when a parameter or a running statistic outside `head` has no tensor of its shape: nothing may
    stay random without anybody knowing. Counters and computed buffers may be missing. `where` is
    the place that the message names.
    """
    fresh = tuple(head)
    state = module.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if not is_under(name, fresh)}
    missing = [name for name in wanted if name not in tensors]
    mismatched = [n for n in wanted if n in tensors and tensors[n].shape != wanted[n].shape]
    required = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    lost = [n for n in missing if n in required or n.endswith(("running_mean", "running_var"))]
    left_over = [n for n in tensors if n not in state]
    if lost or mismatched:
        raise _another_architecture(wanted, tensors, lost + mismatched, where)
    matched = {name: tensors[name] for name in wanted if name in tensors}
    module.load_state_dict(matched, strict=False)
    return WeightsReport(
        matched=tuple(matched),
        reset=tuple(name for name in state if is_under(name, fresh)),
        missing=tuple(missing),
        left_over=tuple(left_over),
    )


def save_weights(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write tensors as one safetensors file, in one step; equal content gives equal bytes.

    Every tensor is a contiguous copy on the CPU, so that channels_last and tied weights can be
    saved; `format: pt` joins the metadata. Raises DiskError.
    """
    plain = {
        name: tensor.detach().to("cpu").contiguous(memory_format=torch.contiguous_format).clone()
        for name, tensor in tensors.items()
    }
    write_bytes(path, _ordered_header(to_safetensors(plain, {**metadata, "format": "pt"})))


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """Give the tensors to save under the names of the bare module, whatever wraps it."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(inner, nn.Module):
            module = inner
        elif isinstance(module, DistributedDataParallel):
            module = module.module
        else:
            break
    return {name.replace("_orig_mod.", ""): value for name, value in module.state_dict().items()}


def _refuse_unreadable(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            "this is a folder, not a weight file" if path.is_dir() else "no such weight file",
            where=str(path),
            remedy="give the path of one .safetensors file",
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_POINTER))
    except OSError as error:
        raise WeightsError(
            "this weight file cannot be read", found=error.strerror, where=str(path)
        ) from error
    if start == _POINTER:
        raise WeightsError(
            "this file only points to weights kept in large-file storage",
            found="a git-lfs pointer",
            where=str(path),
            remedy="fetch the content with 'git lfs pull', or let hftune pull the repository",
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _read_pickle(path: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    if not allow_pickle:
        raise WeightsError(
            "pickled weights are not read unless asked for, since a pickle can run code",
            found=path.name,
            allowed="a .safetensors file",
            where=str(path),
            remedy="convert the file to safetensors, or for a local file that you trust set "
            "model.allow_pickle: true (tensors only)",
        )
    try:
        # Training checkpoints of timm carry their command line; a Namespace only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's doubts about a pickle that it then refuses
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "this pickle holds more than tensors, or is damaged",
            found=_first_line(error),
            where=str(path),
            remedy="save its state_dict alone, as safetensors, with the program that wrote it",
        ) from error
    except Exception as error:  # what torch's reader trips over in bytes of any kind
        raise _damaged(path, _first_line(error)) from error
    return _tensors_of(content, path)


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """Find the named tensors in a checkpoint: under a usual key, or at the top."""
    if isinstance(content, Mapping):
        inner = next((content[k] for k in _NESTED if isinstance(content.get(k), Mapping)), content)
        tensors = {str(k): v.detach() for k, v in inner.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
    raise WeightsError(
        "this file holds no named tensors",
        found=type(content).__name__,
        allowed=f"tensors by name, at the top or under {', '.join(_NESTED)}",
        where=str(path),
    )


def _unwrapped(name: str) -> str:
    """Take the prefixes of DDP and torch.compile off a name, in any order and number."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _stripped(tensors: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    prefix = _unwrapped(prefix)
    if not any(name.startswith(prefix) for name in tensors):
        starts = sorted({name.partition(".")[0] + "." for name in tensors})
        raise WeightsError(
            "no tensor's name starts with the prefix to strip",
            found=", ".join(starts[:8]) + (", ..." if len(starts) > 8 else ""),
            allowed=f"names that start with '{prefix}'",
            where=str(path),
            remedy="correct or remove model.strip_prefix",
        )
    short = {
        n: n.removeprefix(prefix).removeprefix(".") if n.startswith(prefix) else n for n in tensors
    }
    return _renamed(tensors, short, path)


def _renamed(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], path: Path
) -> dict[str, Tensor]:
    """Give the tensors new names; two tensors may not end under one name."""
    taken: dict[str, str] = {}
    for name, new in names.items():
        if new in taken:
            raise WeightsError(
                "two tensors have the same name once their prefixes are gone",
                found=f"{taken[new]} and {name}, both {new}",
                where=str(path),
                remedy="correct or remove model.strip_prefix",
            )
        taken[new] = name
    return {new: tensors[name] for new, name in taken.items()}


def _another_architecture(
    wanted: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    unfit: Sequence[str],
    where: str | None,
) -> WeightsError:
    absent = [name for name in unfit if name not in tensors]
    present = [name for name in unfit if name in tensors]
    shapes = [f"{n} is {_shape(tensors[n])}, not {_shape(wanted[n])}" for n in present]
    found = []
    if absent:
        found.append(f"{len(absent)} of {len(wanted)} tensors are missing: {_examples(absent)}")
    if present:
        found.append(f"{len(present)} have another shape: {_examples(shapes)}")
    return WeightsError(
        "these weights are of another architecture, input size or number of classes",
        found="\n".join(found),
        allowed=f"all {len(wanted)} tensors of the model; the file has {len(tensors)}",
        where=where,
        remedy="check model.architecture, model.image_size and model.strip_prefix",
    )


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it ends too early"])[0]


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        "this weight file is damaged or incomplete",
        found=reason,
        where=str(path),
        remedy="delete the file and fetch it again",
    )


def _ordered_header(content: bytes) -> bytes:
    """Sort the file's metadata, which the library writes in an order that changes with each run.

    The header is JSON behind its length (8 bytes, little endian), padded to a multiple of 8; the
    positions in it count from its end, so a header of another length moves nothing.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
