"""A soup: the mean of the weights of several fine-tunings of one backbone, as a run of its own.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time" (2022). Every candidate is judged on validation, never on test,
and what is written is never worse there than the best single ingredient.
"""

from hftune.soup.make import Soup, make_soup

__all__ = ["Soup", "make_soup"]
