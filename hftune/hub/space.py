"""README.md of a Space, and what its users changed in one that hftune wrote.

A file is ours as long as it is what the README's metadata says hftune wrote. A changed one is kept,
and so are words around our block in the README, and how its page is presented.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import RepoCard

from hftune.errors import PublishError
from hftune.hub.branch import Branch, PushTarget
from hftune.hub.card import BEGIN, END, keep_user_text, read_metadata
from hftune.hub.contents import CARD, PushFile
from hftune.hub.listing import git_digest

# The users' own affair once the Space is there; all else in the metadata must fit the app.
_TASTE = (
    *("title", "emoji", "colorFrom", "colorTo", "pinned", "short_description", "license"),
    *("suggested_hardware", "python_version"),
)
_MOST_LETTERS = 60  # of a short description, as the Hub takes it
_RECORD = "hftune"


@dataclass(frozen=True, kw_only=True)
class SpaceFacts:
    """What a Space's README tells: the model at a commit, and the release of gradio to run."""

    title: str
    repo_id: str
    commit: str
    license: str | None
    gradio: str


def space_card(facts: SpaceFacts, folder: Path) -> str:
    """Give the README.md of a Space whose other files lie in `folder`."""
    card = RepoCard(f"---\ntitle: x\n---\n{BEGIN}\n\n{_text(facts)}\n\n{END}\n")
    values: dict[str, object] = {
        "title": facts.title,
        "colorFrom": "indigo",
        "colorTo": "gray",
        "sdk": "gradio",
        "sdk_version": facts.gradio,
        "python_version": "3.12",
        "app_file": "app.py",
        "pinned": False,
        "license": facts.license,
        "short_description": f"Image classifier {facts.repo_id}"[:_MOST_LETTERS],
        "suggested_hardware": "cpu-basic",
        "models": [facts.repo_id],
        _RECORD: {path.name: git_digest(path) for path in sorted(folder.iterdir())},
    }
    for key, value in values.items():
        card.data[key] = value
    return str(card)


def _text(facts: SpaceFacts) -> str:
    return f"""A demo of the image classifier `{facts.repo_id}` at commit `{facts.commit}`.

- `model.json` names the commit. `hftune push` writes it anew for another one.
- The other files are yours to change: a later push keeps a file that you changed. Delete it here,
  and the next push writes it again.
- A private model needs a secret of this Space, `HF_TOKEN`, with a token that may read the model.
- On your own machine: `pip install -r requirements.txt`, then `python app.py`."""


def keep_space_words(card: str, existing: str) -> str:
    """Give `card` with what users wrote in `existing`: text around our block, how the page looks.

    Raises PublishError when the metadata of `existing` cannot be read.
    """
    theirs = read_metadata(existing)
    if BEGIN in existing:  # else nobody has looked at it yet, or it is of another Space
        ours = RepoCard(card)
        for key in _TASTE:
            if key in theirs:
                ours.data[key] = theirs[key]
        card = str(ours)
    return keep_user_text(card, existing)


def changed_there(
    contents: Sequence[PushFile], branch: Branch, existing: str | None, target: PushTarget
) -> tuple[str, ...]:
    """Name the files of `contents` that users changed in the Space since hftune wrote them.

    Raises PublishError where the Space has an app that hftune did not write.
    """
    record = read_metadata(existing or "").get(_RECORD)
    written = record if isinstance(record, Mapping) else {}
    there = [(file, branch.files[file.path]) for file in contents if file.path in branch.files]
    changed = tuple(
        file.path
        for file, theirs in there
        if file.path != CARD and theirs.blob_id not in (file.blob_id, written.get(file.path))
    )
    if changed and not written:
        raise PublishError(
            "this Space has an app of its own; nothing was sent",
            found=", ".join(changed),
            allowed="a Space that hftune wrote, an empty one, or a name that is not taken",
            where=f"space {target.repo_id}",
            remedy="choose another name, or delete these files there",
        )
    return changed
