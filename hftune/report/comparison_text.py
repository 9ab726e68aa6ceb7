"""A comparison in words and tables: what each arm scored, which pairs differ, what stays open."""

from collections.abc import Iterator, Sequence

from hftune.hub.card_table import table
from hftune.metrics.bootstrap import Interval
from hftune.report.curves import words
from hftune.report.verdict import ArmResult, Comparison, PairResult
from hftune.units import format_duration

# From this number of seeds on their spread is known well enough to go without a warning.
_ENOUGH_SEEDS = 10


def comparison_page(comparison: Comparison, *, picture: str) -> str:
    """Give the whole comparison as a Markdown page that shows the picture of this name."""
    names = " against ".join(f"`{arm.name}`" for arm in comparison.arms)
    parts = [
        f"# {names}",
        basis(comparison),
        arms_table(comparison),
        pairs_table(comparison),
        "\n".join(f"- {verdict_sentence(pair, comparison)}" for pair in comparison.pairs),
        "\n".join(f"- {text}" for text in cautions(comparison)),
        f"![{words(comparison.metric)} by arm, and over the epochs]({picture})",
    ]
    return "\n\n".join(parts) + "\n"


def basis(comparison: Comparison) -> str:
    """Say what was compared, and how the intervals are made."""
    seeds = _count(comparison.num_seeds, "seed")
    drawn = "images" if comparison.num_seeds == 1 else "images and seeds"
    return (
        f"{words(comparison.metric).capitalize()} on the same {comparison.num_images:,} images of "
        f"the {comparison.split} split, {seeds} per arm. Intervals: 95 %, {comparison.resamples:,} "
        f"resamples of {drawn}, the same for every arm."
    )


def arms_table(comparison: Comparison) -> str:
    """Give a table with a row per arm; further metrics are those that all arms reported."""
    metric = comparison.metric
    others = [name for name in comparison.arms[0].others if name != metric]
    others = [name for name in others if all(name in arm.others for arm in comparison.arms)]
    spread = ["sd over seeds"] if comparison.num_seeds > 1 else []
    head = ["arm", words(metric), *spread, "95 % interval", *map(words, others)]
    head += ["parameters that train", "steps", "time", "images/s"]
    return table(head, [_arm_cells(arm, others) for arm in comparison.arms])


def pairs_table(comparison: Comparison) -> str:
    """Give a table with a row per pair of arms."""
    head = ["pair", "difference", "95 % interval", "better"]
    has_answers = all(pair.answered is not None for pair in comparison.pairs)
    if has_answers:
        head += ["right: both", "only the first", "only the second", "neither", "p by seed"]
    return table(head, [_pair_cells(pair) for pair in comparison.pairs])


def verdict_sentence(pair: PairResult, comparison: Comparison) -> str:
    """Say which arm of a pair is better, or that this is open and what it would take."""
    means = {arm.name: arm.interval.value for arm in comparison.arms}
    low, high = pair.difference.low, pair.difference.high
    if pair.verdict == "open":
        return (
            f"`{pair.first}` and `{pair.second}` cannot be told apart on these "
            f"{comparison.num_images:,} images: {words(comparison.metric)} "
            f"{means[pair.first]:.4f} and {means[pair.second]:.4f}, a difference between "
            f"{low:+.4f} and {high:+.4f}. {needed_sentence(pair, comparison)}"
        )
    better, other = pair.first, pair.second
    if pair.verdict == "second":
        better, other = other, better
    nearer, farther = sorted((abs(low), abs(high)))
    return (
        f"`{better}` is better than `{other}`: {words(comparison.metric)} {means[better]:.4f} "
        f"against {means[other]:.4f}, {abs(pair.difference.value):.4f} apart "
        f"({nearer:.4f} to {farther:.4f})."
    )


def needed_sentence(pair: PairResult, comparison: Comparison) -> str:
    """Say what it would take to show a difference of the size that was seen."""
    if pair.difference.value == 0:
        return "They scored the same, and no number of images shows a difference of nothing."
    ways = []
    if (images := pair.needed.images) is not None:
        ways.append(f"about {_rounded(images)} images in place of {comparison.num_images:,}")
    if (seeds := pair.needed.seeds) is not None:
        ways.append(f"about {_rounded(seeds)} seeds in place of {comparison.num_seeds}")
    if not ways:
        return "To show a difference that small would take both more images and more seeds."
    return f"To show a difference that small, were it real, would take {' or '.join(ways)}."


def cautions(comparison: Comparison) -> Iterator[str]:
    """Give what a reader must know before building on the verdicts."""
    num_seeds, num_pairs = comparison.num_seeds, len(comparison.pairs)
    if comparison.split == "val":
        yield (
            "There is no test split: these images also picked each run's weights, so every value "
            "is too good, the more so the more often an arm was judged."
        )
    if num_seeds == 1:
        yield (
            "One seed per arm: the verdicts are about these trained weights. Another seed may "
            "turn them; give --seeds."
        )
    elif num_seeds < _ENOUGH_SEEDS:
        yield (
            f"The spread over seeds is estimated from {num_seeds}: where seeds matter more than "
            "images, the intervals are too narrow."
        )
    if num_pairs > 1:
        yield (
            f"Each interval is for its own pair: among {num_pairs} pairs of equal arms, "
            f"{0.05 * num_pairs:.2g} are expected to look different."
        )
    if comparison.undefined > 0:
        yield (
            f"{comparison.undefined:.1%} of the resamples left {words(comparison.metric)} "
            "undefined and were left out."
        )
    if comparison.pairs[0].answered is not None:
        yield _about_answers(comparison)


def _about_answers(comparison: Comparison) -> str:
    pairs = comparison.pairs
    text = "The counts are right answers, whatever the metric"
    if comparison.num_seeds > 1:
        text += (
            ", added up over the seeds; each seed has a p of its own, for the seeds share their "
            "images and their sum would count each image several times"
        )
    text += ". p: McNemar's exact test"
    return f"{text}, after Holm's correction for {len(pairs)} pairs." if pairs[1:] else f"{text}."


def _arm_cells(arm: ArmResult, others: Sequence[str]) -> list[str]:
    share = f" of {arm.num_parameters:,}" if arm.num_trainable < arm.num_parameters else ""
    return [
        f"`{arm.name}`",
        f"{arm.interval.value:.4f}",
        *([] if arm.spread is None else [f"{arm.spread:.4f}"]),
        f"{arm.interval.low:.4f} to {arm.interval.high:.4f}",
        *(f"{sum(arm.others[name]) / len(arm.others[name]):.4f}" for name in others),
        f"{arm.num_trainable:,}{share}",
        str(arm.steps),
        format_duration(arm.seconds),
        f"{arm.images_per_second:.1f}",
    ]


def _pair_cells(pair: PairResult) -> list[str]:
    better = {"first": f"`{pair.first}`", "second": f"`{pair.second}`", "open": "open"}
    cells = [
        f"`{pair.first}` - `{pair.second}`",
        f"{pair.difference.value:+.4f}",
        _signed_range(pair.difference),
        better[pair.verdict],
    ]
    if pair.answered is not None:
        summed = pair.answered.summed
        counts = (summed.both, summed.only_first, summed.only_second, summed.neither)
        cells += [*map(str, counts), ", ".join(map(_p_text, pair.answered.adjusted))]
    return cells


def _signed_range(interval: Interval) -> str:
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _rounded(number: int) -> str:
    """Give two leading digits: an estimate of this kind has no more."""
    size = 10 ** max(0, len(str(number)) - 2)
    return f"{-(-number // size) * size:,}"
