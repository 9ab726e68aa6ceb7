"""What a run keeps about each image: written once, read back bit for bit, matched by digest."""

from dataclasses import replace

import pytest
import torch

from hftune.core import BadImage
from hftune.errors import RunFolderError
from hftune.train.evaluate import Outputs
from hftune.train.predictions import (
    predictions_file,
    predictions_from,
    read_predictions,
    write_predictions,
)
from tests.drawn import drawn_splits


def test_predictions_come_back_bit_for_bit(tmp_path):
    split = drawn_splits().val
    logits = torch.randn(len(split), 2, generator=torch.Generator().manual_seed(0))
    targets = torch.as_tensor(split.rows.targets)
    write_predictions(tmp_path, predictions_from(split, Outputs(logits=logits, targets=targets)))
    read = read_predictions(tmp_path, "val")
    assert read is not None
    assert torch.equal(read.logits, logits)
    assert torch.equal(read.targets, targets)
    assert read.logits.dtype == torch.float32
    assert read.digest == split.digest


def test_several_labels_and_views_are_kept_as_they_are(tmp_path):
    split = drawn_splits().val
    wide = torch.arange(len(split) * 6, dtype=torch.float64).reshape(len(split), 6)
    targets = (wide > 20).float()[:, ::2]
    outputs = Outputs(logits=wide[:, ::2], targets=targets)
    write_predictions(tmp_path, predictions_from(split, outputs))
    read = read_predictions(tmp_path, "val")
    assert read is not None
    assert torch.equal(read.logits, wide[:, ::2].float())
    assert torch.equal(read.targets, targets)


def test_answers_without_a_bad_image_are_not_those_about_all():
    split = drawn_splits().val
    outputs = Outputs(logits=torch.zeros(10, 2), targets=torch.zeros(10, dtype=torch.int64))
    digests = {
        predictions_from(split, replace(outputs, bad=bad)).digest
        for bad in ((), (bad_row(3),), (bad_row(4),))
    }
    assert len(digests) == 3
    assert split.digest in digests


def bad_row(row):
    return BadImage(split="val", row=row, name=f"{row}.png", reason="cut short")


def test_a_run_without_them_has_none(tmp_path):
    assert read_predictions(tmp_path, "test") is None


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    path = predictions_file(tmp_path, "test")
    path.parent.mkdir()
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(RunFolderError, match="cannot be read") as error:
        read_predictions(tmp_path, "test")
    assert str(path) in str(error.value)
