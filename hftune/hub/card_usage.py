"""How a published model is used, in the card: with timm, with transformers, with hftune."""

from hftune.hub.card_facts import CardFacts

_MODES = {1: "L", 3: "RGB"}


def usage_section(facts: CardFacts) -> str:
    """Give the section with an example for each reader that can run the model."""
    place = facts.place
    source = f"hf-hub:{place}" if facts.repo_id else f"local-dir:{place}"
    mode = _MODES.get(facts.input_spec.channels, "RGB")
    parts = [
        "## How to use",
        f"""With timm:

```python
import timm
import torch
from PIL import Image

model = timm.create_model("{source}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = Image.open("image.jpg").convert("{mode}")
with torch.inference_mode():
{_reading(facts)}
```""",
        _with_transformers(facts),
        f"With hftune: `hftune predict {place} image.jpg`",
    ]
    return "\n\n".join(parts)


def _reading(facts: CardFacts) -> str:
    """Give the lines that turn the outputs into an answer."""
    if facts.labels.numeric:
        return """\
    number = model(transform(image)[None])[0].item()
name = model.pretrained_cfg["label_names"][0]
print(f"{name}: {number:.4g}")"""
    scores = "sigmoid()" if facts.labels.multi else "softmax(-1)"
    return f"""\
    scores = model(transform(image)[None])[0].{scores}
names = model.pretrained_cfg["label_names"]
for position in scores.argsort(descending=True)[:5]:
    print(f"{{names[position]}}: {{scores[position]:.3f}}")"""


def _with_transformers(facts: CardFacts) -> str:
    channels = facts.input_spec.channels
    if channels != 3:
        return (
            f"The model takes {channels} channels. transformers' pipeline feeds three, so it cannot"
            " run this model."
        )
    # Said outright: a single output may get a sigmoid otherwise.
    options = ', function_to_apply="none"' if facts.labels.numeric else ""
    if facts.revision != "main":
        options = f', revision="{facts.revision}"{options}'
    return f"""With transformers:

```python
from transformers import pipeline

classify = pipeline("image-classification", model="{facts.repo_id or facts.place}"{options})
print(classify("image.jpg"))
```"""
