"""From files or a Hub dataset to batches: sources, labels, splits, order, input pipeline."""
