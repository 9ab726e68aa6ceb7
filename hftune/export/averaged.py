"""Which weights are published, in words: those of one step, or a mean of several."""

from hftune.train.run_facts import RunFacts


def weights_published(facts: RunFacts) -> str:
    """Say whose weights they are, and their value on validation."""
    results, average, soup = facts.results, facts.average, facts.soup
    value = "" if results.best_value is None else f" {results.best_value:.4f}"
    judged = f"{results.best_metric}{value} on validation"
    if soup is not None and len(soup.members) > 1:
        return (
            f"mean of {len(soup.members)} models, chosen from {len(soup.ingredients)} "
            f"({soup.method}): {', '.join(soup.members)}; {judged}; "
            f"what else is said here is of {soup.members[0]}"
        )
    if soup is None and average is not None and average.chosen:
        points = average.points
        return f"mean of those after {len(points)} steps, {points[0]} to {points[-1]}; {judged}"
    return f"of step {results.best_step}, best {judged}"
