"""The card's section on what training left as it was, and how anybody can check that."""

from hftune.hub.card_facts import CardFacts, FrozenFacts
from hftune.hub.card_table import cell, table

_SHOWN = 8
# Digits of a commit that people can tell it by; the program below has all of them.
_SHORT = 12


def frozen_section(facts: CardFacts) -> str:
    """Give the section; '' where everything trained."""
    frozen = facts.frozen
    if frozen is None:
        return ""
    tensors = sum(part.tensors for part in frozen.parts)
    parameters = sum(part.parameters for part in frozen.parts)
    total = sum(part.of_parameters for part in frozen.parts)
    all_tensors = sum(part.of_tensors for part in frozen.parts)
    rows = [
        [
            cell(part.name),
            f"{part.tensors} of {part.of_tensors}",
            f"{part.parameters:,} of {part.of_parameters:,}",
        ]
        for part in frozen.parts
        if part.tensors
    ]
    lines = [
        "## Frozen layers",
        f"{tensors} of {all_tensors} tensors, with {parameters:,} of {total:,} parameters "
        f"({parameters / total:.1%}), did not train: every bit of them is {_origin(frozen)}.",
        table(["Part", "Tensors", "Parameters"], rows),
        *_exceptions(frozen),
        "`hftune/receipt.json` holds the SHA-256 of each of them, before and after training.",
    ]
    if frozen.base is not None and frozen.commit is not None:
        lines.append(f"To compare them with the base yourself:\n\n{_check(frozen, facts)}")
    return "\n\n".join(lines)


def _origin(frozen: FrozenFacts) -> str:
    if frozen.base is None:
        return "as it was when training began"
    commit = f" at commit `{frozen.commit[:_SHORT]}`" if frozen.commit else ""
    return f"that of `{frozen.base}`{commit}, as timm loads it in float32"


def _exceptions(frozen: FrozenFacts) -> list[str]:
    """Say what of the frozen layers is not covered by the claim."""
    lines = []
    if frozen.others:
        names = ", ".join(f"`{name}`" for name in frozen.others[:_SHOWN])
        more = len(frozen.others) - _SHOWN
        lines.append(
            f"Frozen too, but not the base's own values: {names}"
            + (f" and {more} more." if more > 0 else ".")
        )
    if frozen.num_moving:
        lines.append(
            f"The running statistics of frozen layers ({frozen.num_moving} tensors) followed the "
            "new images, as `freeze.batch_norm: train` asks; they are not the base's."
        )
    return lines


def _check(frozen: FrozenFacts, facts: CardFacts) -> str:
    """Give a program that needs timm and nothing of ours."""
    options = "".join(f", {name}={value!r}" for name, value in frozen.model_args.items())
    ours = f"hf-hub:{facts.place}" if facts.repo_id else "local-dir:THIS_FOLDER"
    imports = "import json\n\nimport timm\nimport torch\n"
    path = '"THIS_FOLDER/hftune/receipt.json"'
    if facts.repo_id:
        imports += "from huggingface_hub import hf_hub_download\n"
        at = f', revision="{facts.revision}"' if facts.revision != "main" else ""
        path = f'hf_hub_download("{facts.repo_id}", "hftune/receipt.json"{at})'
    return f"""```python
{imports}
ours = timm.create_model("{ours}", pretrained=True).state_dict()
base = timm.create_model(
    "hf-hub:{frozen.base}@{frozen.commit}", pretrained=True{options}
).state_dict()
with open({path}) as file:
    frozen = json.load(file)["frozen"]
names = [name for name, tensor in frozen.items() if tensor["from_base"]]
same = [name for name in names if torch.equal(ours[name], base[name])]
print(f"{{len(same)}} of {{len(names)}} frozen tensors are those of the base")
```"""
