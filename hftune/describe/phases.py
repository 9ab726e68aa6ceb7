"""What each phase of a recipe trains, and at which rate: from the model's layers, without its data.

Steps per epoch are not known without data, so places in the run stay as the recipe writes them.
"""

from dataclasses import replace

from hftune.describe.description import Cell, Description
from hftune.describe.layers import (
    Layers,
    depth_table,
    head_text,
    norm_table,
    norm_text,
    share_text,
    stage_table,
)
from hftune.describe.phase_tables import (
    PhaseGroups,
    group_table,
    phase_parameter_table,
    phase_table,
)
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import HubConfig, read_config, registry_config
from hftune.model.layer_map import map_layers
from hftune.optim.groups import make_groups
from hftune.optim.phases import make_phases
from hftune.optim.scaling import peak_lr
from hftune.recipe.schema import ModelRecipe, Recipe
from hftune.units import parse_span

# Stand-ins for what only the data can tell.
_CLASSES = 2
_STEPS_PER_EPOCH = 1000


def with_layers(description: Description, recipe: Recipe) -> Description:
    """Add a recipe's layers, and what each phase does to them, to its description.

    Pulls the backbone's config, no weights. Raises what that raises, PlanError and ModelError.
    """
    layers = recipe_layers(recipe)
    phases = _phases(recipe, layers)
    peak = peak_lr(recipe.optim, batch_size=recipe.train.batch_size)
    never = set(layers.sizes).difference(*(part.phase.trainable for part in phases))
    number = sum(layers.sizes[name] for name in never)
    total = sum(layers.sizes.values())
    head = head_text(layers)
    if recipe.problem != "regression":
        head += f"; {_CLASSES} classes stand in for those of the data, which are not opened"
    facts: dict[str, Cell] = {
        "parameters": total,
        "head": head,
        "norm layers": norm_text(layers),
        "peak rate": f"{peak:g}",
        "never trains": f"{number:,} parameters, {share_text(number, total)}",
    }
    return replace(
        description,
        facts={**description.facts, **facts},
        tables=(
            phase_table(phases, layers, place="from"),
            group_table(phases, layers, peak=peak, place="from"),
            stage_table(layers),
            depth_table(layers),
            norm_table(layers),
        ),
        parameters=phase_parameter_table(phases, layers, peak=peak),
    )


def recipe_layers(recipe: Recipe) -> Layers:
    """Build a recipe's backbone from its config alone, with a head for a stand-in of classes."""
    config = _config(recipe.model)
    module = construct(
        config,
        shaping_args(recipe.model, config),
        recipe=recipe.model,
        num_classes=_outputs(recipe),
        seed=0,
    )
    return Layers(module=module, map=map_layers(module))


def _config(model: ModelRecipe) -> HubConfig:
    if model.repo is None:
        assert model.architecture is not None  # the recipe was checked
        return registry_config(model.architecture)
    source = pull(parse_ref(model.repo, revision=model.revision), files=("config.json",))
    assert source.folder is not None
    return read_config(source.folder, repo_id=source.repo_id)


def _outputs(recipe: Recipe) -> int:
    return 1 if recipe.problem == "regression" else _CLASSES


def _phases(recipe: Recipe, layers: Layers) -> list[PhaseGroups]:
    length = parse_span(recipe.train.length)
    total_steps = length.steps(steps_per_epoch=_STEPS_PER_EPOCH)
    # Where the length is in steps, an epoch is taken as a small part of it.
    epoch = _STEPS_PER_EPOCH if length.unit == "epochs" else max(1, total_steps // _STEPS_PER_EPOCH)
    phases = make_phases(
        recipe, layers.map, list(layers.sizes), total_steps=total_steps, steps_per_epoch=epoch
    )
    return [
        PhaseGroups(
            at=entry.at,
            warmup=entry.warmup,
            phase=phase,
            groups=make_groups(recipe.optim, layers.map, layers.module, trainable=phase.trainable),
        )
        for entry, phase in zip(recipe.unfreeze, phases, strict=True)
    ]
