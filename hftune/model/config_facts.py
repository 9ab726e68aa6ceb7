"""What a config.json of a stranger may say about a model: each fact's form, checked before use.

timm takes these values as they are and trips over odd ones deep inside. Options of its constructors
come from the same file, so only those that shape the model pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hftune.errors import ModelError

_MOST_SIDE = 16_384
_MOST_CHANNELS = 4_096
_LARGEST_OPTION = 65_536
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
_CROP_MODES = ("center", "squash", "border")
# Of timm's own function that builds models: they name files, caches and other wrappings.
_FOREIGN_OPTIONS = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "exportable",
        "features_only",
        "no_jit",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "scriptable",
    }
)


@dataclass(frozen=True)
class _Form:
    """A fact's form: the check, and the words for it."""

    has: Callable[[object], bool]
    words: str


def checked_facts(stated: Mapping[str, object], *, where: str) -> dict[str, object]:
    """Give the facts that are stated, null left out. Raises ModelError with every odd one."""
    given = {name: value for name, value in stated.items() if value is not None}
    odd = [
        f"{name}: {_short(given[name])}; give {form.words}"
        for name, form in _FORMS.items()
        if name in given and not form.has(given[name])
    ]
    if odd:
        raise ModelError(
            "this config.json states facts of a model that cannot be",
            found="\n".join(odd),
            where=where,
            remedy="take another revision of the repository, or correct the file",
        )
    return given


def checked_options(options: object, *, where: str) -> dict[str, object]:
    """Give the constructor options of a config. Raises ModelError for those of another kind.

    An option is a number of usual size, a text, true, false, null, or a list or mapping of these.
    """
    if options is None:
        return {}
    odd = [f"{_short(options)}; give options by name"]
    if isinstance(options, Mapping):
        odd = [
            f"{_short(name)}: {_short(value)}"
            for name, value in options.items()
            if name in _FOREIGN_OPTIONS or not _is_option(name, value)
        ]
        if not odd:
            return dict(options)
    raise ModelError(
        "this config.json asks for what no model is built with",
        found="\n".join(odd),
        allowed=f"options of the architecture, whole numbers up to {_LARGEST_OPTION}",
        where=f"{where}: model_args",
        remedy="take another revision of the repository, or correct the file",
    )


def _is_option(name: object, value: object) -> bool:
    if value is None:
        return True
    if name == "in_chans":
        return _is_whole(value, _MOST_CHANNELS)
    if name == "img_size":
        sides = value if isinstance(value, list) and len(value) == 2 else [value]
        return all(_is_whole(side, _MOST_SIDE) for side in sides)
    numbers = [leaf for leaf in _leaves(value) if isinstance(leaf, int | float)]
    return all(abs(number) <= _LARGEST_OPTION for number in numbers)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return _is_whole(value[0], _MOST_CHANNELS) and all(_is_whole(v, _MOST_SIDE) for v in value[1:])


def _are_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_number, value))


def _are_names(value: object) -> bool:
    names = [value] if isinstance(value, str) else value
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


_FORMS: Mapping[str, _Form] = {
    "input_size": _Form(_is_size, "channels, height and width in pixels"),
    "fixed_input_size": _Form(lambda value: isinstance(value, bool), "true or false"),
    "interpolation": _Form(_INTERPOLATIONS.__contains__, f"one of {', '.join(_INTERPOLATIONS)}"),
    "crop_pct": _Form(_is_share, "a share above 0 and up to 1"),
    "crop_mode": _Form(_CROP_MODES.__contains__, f"one of {', '.join(_CROP_MODES)}"),
    "mean": _Form(_are_numbers, "a number per channel"),
    "std": _Form(lambda value: _are_numbers(value) and 0 not in _listed(value), "numbers but 0"),
    "num_classes": _Form(lambda value: value == 0 or _is_whole(value, 10**7), "a class count"),
    "label_offset": _Form(lambda value: value in (0, 1), "0 or 1"),
    "first_conv": _Form(_are_names, "the name of a layer, or several"),
    "classifier": _Form(_are_names, "the name of a layer, or several"),
    "tag": _Form(lambda value: isinstance(value, str), "text"),
    "hf_hub_id": _Form(lambda value: isinstance(value, str), "text"),
}


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
