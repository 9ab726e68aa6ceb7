"""What torch's own schedulers give, to compare with."""

import warnings

import torch


def reference(make, *, steps):
    """The rates that a torch scheduler gives for a peak rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        # SequentialLR calls its parts with a step number, which torch itself deprecates.
        warnings.simplefilter("ignore", UserWarning)
        scheduler = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
    return rates
