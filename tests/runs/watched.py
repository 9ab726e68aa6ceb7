"""hftune's command line, with a note of every rank's weights at every checkpoint.

Run under a launcher: `... watched.py FOLDER train RECIPE ...` writes FOLDER/RANK.jsonl.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from hftune.cli.main import invoke
from hftune.train import loop

NOTES = Path(sys.argv[1]) / f"{os.environ.get('RANK', '0')}.jsonl"
save = loop.save


def noted(session, progress, around):
    total = hashlib.sha256()
    for value in session.module.parameters():
        total.update(value.detach().cpu().numpy().tobytes())
    with NOTES.open("a") as stream:
        stream.write(json.dumps({"step": progress.step, "weights": total.hexdigest()}) + "\n")
    save(session, progress, around)


if __name__ == "__main__":
    loop.save = noted
    sys.exit(invoke(sys.argv[2:]))
