"""Labelling many images into one file, which a stop or a kill does not lose."""

from hftune.bulk.answers import Wanted
from hftune.bulk.images import Pictures, find_pictures, pictures_of_dataset
from hftune.bulk.label import Labelled, label_all

__all__ = [
    "Labelled",
    "Pictures",
    "Wanted",
    "find_pictures",
    "label_all",
    "pictures_of_dataset",
]
