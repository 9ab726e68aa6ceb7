"""Galleries of answers: what the model saw, and where it found what speaks for a class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image
from torch import Tensor

from hftune.core import InputSpec, Split, Splits
from hftune.data.cached_rows import read_decoded
from hftune.data.image_input import eval_transform, normalise
from hftune.errors import DataError, HftuneError
from hftune.hub.card_text import split_title
from hftune.report.finished import FinishedRun
from hftune.report.heat import REMEDY, HeatMaps, can_draw_heat, open_heat
from hftune.report.overlay import brightest_place, jpeg_of, legend_colors, overlaid, picture_of
from hftune.report.page.answers import Answer, choose_answers
from hftune.report.page.html import card, gallery, paragraph, photograph, scale, section
from hftune.train.trained import load_run


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """An answer with what the model saw: `pixels` uint8 [C, H, W]."""

    answer: Answer
    name: str
    pixels: Tensor


def answer_sections(run: FinishedRun, splits: Splits) -> Iterator[str]:
    """Give the worst errors and the surest right answers of the final split, where any was kept.

    Side effect: loads the best weights for the heat maps, and runs them on two dozen images.
    """
    split, said = splits.test or splits.val, run.final_said
    if said is None or said.split != split.name or len(said.targets) != len(split):
        return
    found = choose_answers(run, said, split_title(split.name))
    spec = run.model.input_spec
    images = read_decoded(split, run.recipe.data)
    worst, surest = (list(_seen(images, some, spec)) for some in (found.worst, found.surest))
    heat, why_not = _heat_of(run)
    explained = _explain(heat) if heat is not None else paragraph(why_not)
    yield section(
        "Worst errors",
        paragraph(found.worst_note),
        explained if worst else "",
        gallery(_cards(worst, spec, heat), views=3 if heat is not None else 1),
    )
    yield section(
        found.surest_title,
        paragraph(found.surest_note) if surest else "",
        gallery(_cards(surest, spec, heat), views=2 if heat is not None else 1),
    )


def _seen(split: Split, answers: Sequence[Answer], spec: InputSpec) -> Iterator[_Shown]:
    """Give the images as the model saw them; one that can no longer be read is left out."""
    transform = eval_transform(spec)
    for answer in answers:
        try:
            pixels = transform(split.rows.image(answer.row))
        except DataError:
            continue
        yield _Shown(answer=answer, name=split.rows.key(answer.row), pixels=pixels)


def _heat_of(run: FinishedRun) -> tuple[HeatMaps | None, str]:
    """Give what draws heat maps of the run's best weights, or why there is nothing."""
    if not can_draw_heat():
        return None, f"With heat maps: {REMEDY}."
    try:
        heat = open_heat(load_run(run.folder))
    except HftuneError as error:
        return None, f"There are no heat maps: {error.problem}."
    return heat, "There are no heat maps: this model's logits come from no map of places."


def _explain(heat: HeatMaps) -> str:
    rows, columns = heat.places.grid
    return paragraph(
        f"The heat maps (Grad-CAM, layer {heat.places.layer}, {rows} x {columns} places) show where"
        " the model found what speaks for the class below each, in this image. The maps of one"
        " image share their scale. They are coarse, show nothing that speaks against a class, and"
        " do not prove why the model answers as it does."
    ) + scale(legend_colors(), least="nothing", most="most in this image")


def _cards(shown: Sequence[_Shown], spec: InputSpec, heat: HeatMaps | None) -> Iterator[str]:
    maps = _maps(shown, spec, heat) if heat is not None and shown else [{} for _ in shown]
    for one, found in zip(shown, maps, strict=True):
        image = picture_of(one.pixels)
        says = f"{one.name}: {', '.join(one.answer.lines)}"
        views = [photograph(jpeg_of(image), says=says), *_heat_views(image, found, one.answer)]
        yield card(views, one.answer.lines, one.name)


def _heat_views(image: Image, maps: dict[int, Tensor], answer: Answer) -> Iterator[str]:
    most = max((float(one.max()) for one in maps.values()), default=0.0)
    for position, heat in maps.items():
        name = answer.asked[position]
        says = f"Heat map for {name}: brightest {brightest_place(heat)}"
        drawn = jpeg_of(overlaid(image, heat, most=most))
        yield photograph(drawn, says=says, caption=name)


def _maps(shown: Sequence[_Shown], spec: InputSpec, heat: HeatMaps) -> list[dict[int, Tensor]]:
    """Give the map [h, w] of every output that is asked for, by its position, image by image."""
    inputs = normalise(torch.stack([one.pixels for one in shown]), spec)
    pairs = [(place, asked) for place, one in enumerate(shown) for asked in one.answer.asked]
    drawn = heat.draw(inputs[[place for place, _ in pairs]], [asked for _, asked in pairs])
    maps: list[dict[int, Tensor]] = [{} for _ in shown]
    for (place, asked), found in zip(pairs, drawn, strict=True):
        maps[place][asked] = found
    return maps
