"""How sure a figure is: intervals from drawing the queries anew. Pure.

Why it exists: labelled sets are small and candidates of one query are alike, so a figure without an interval over queries says little.
Any statistic of `measures` can be drawn; AUROC and average precision have a fast way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arhn_hf.auditing.measures import (
    Ints,
    Numbers,
    auroc,
    auroc_by_weights,
    average_precision,
    average_precision_by_weights,
    check_shapes,
)

Statistic = Callable[..., float]


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; `n` is how many draws it rests on, those where the figure was defined."""

    low: float
    high: float
    n: int


def bootstrap(
    statistic: Statistic,
    queries: Numbers,
    arrays: Sequence[npt.NDArray[Any]],
    *,
    samples: int = 1000,
    seed: int = 42,
    level: float = 0.95,
) -> Interval:
    """How far `statistic(*arrays)` would vary with other queries of the same kind: a percentile interval.

    Whole queries are drawn with replacement, as many as there are, since candidates of one query are alike; one drawn
    twice counts twice. The statistic is computed on each of `samples` draws, and the interval leaves out half of
    1 - `level` of them at each end, interpolated linearly. Draws where it is NaN do not count: `Interval.n` is how many
    do, the others are `samples` - n. (NaN, NaN, 0) for fewer than two queries, of which nothing can be said.

    The draws depend on `seed` and the number of queries alone, and queries are taken in the order of their codes: the
    order of candidates changes nothing (but the rounding of a statistic that sums floats). Source: Efron, 1979; drawing
    whole clusters: Davison and Hinkley, 1997, 3.8.

    Fast for `auroc` and `average_precision` themselves (not wrapped, arrays = (scores, truth)): scores are sorted once,
    and a draw only changes the candidates' weights. The figures are those of the general way to the last bit. Any other
    statistic gets the drawn candidates' rows of each array, grouped by query.

    Raises `ValueError` for arrays of another length than `queries`, codes that are no ints, `samples` below 1 and a
    `level` not between 0 and 1.
    """
    codes, count = _query_codes(queries, arrays)
    figure = _by_draw(statistic, codes, arrays)
    return _interval((figure(times) for times in _draws(count, samples, seed)), level)


def paired_difference(
    statistic: Statistic,
    queries: Numbers,
    arrays_a: Sequence[npt.NDArray[Any]],
    arrays_b: Sequence[npt.NDArray[Any]],
    *,
    samples: int = 1000,
    seed: int = 42,
    level: float = 0.95,
) -> Interval:
    """How far `statistic(*arrays_a) - statistic(*arrays_b)` would vary with other queries: `bootstrap` of the two.

    Both are computed on the same draws, so what makes a query hard for both cancels: if the interval does not hold 0,
    one judge beats the other, a if it is above. The candidates of both are the same, in the same order. Draws where
    either is NaN are left out. Method, speed, arguments and errors as for `bootstrap`.
    """
    codes, count = _query_codes(queries, [*arrays_a, *arrays_b])
    of_a, of_b = _by_draw(statistic, codes, arrays_a), _by_draw(statistic, codes, arrays_b)
    return _interval((of_a(times) - of_b(times) for times in _draws(count, samples, seed)), level)


def _by_draw(statistic: Statistic, codes: Ints, arrays: Sequence[npt.NDArray[Any]]) -> Callable[[Ints], float]:
    """The statistic as a function of how often each query was drawn."""
    if statistic is auroc or statistic is average_precision:
        of_weights = (auroc_by_weights if statistic is auroc else average_precision_by_weights)(*arrays)
        return lambda times: of_weights(times[codes].astype(np.float64))
    order = np.argsort(codes, kind="stable")
    grouped = codes[order]

    def figure(times: Ints) -> float:
        rows = np.repeat(order, times[grouped])
        return float(statistic(*(array[rows] for array in arrays)))

    return figure


def _draws(count: int, samples: int, seed: int) -> Iterator[Ints]:
    """How often each of `count` queries is drawn, `samples` times; nothing for fewer than two queries."""
    if samples < 1:
        raise ValueError(f"samples is {samples}; give 1 or more")
    rng = np.random.default_rng(seed)
    for _ in range(samples if count > 1 else 0):
        yield np.bincount(rng.integers(count, size=count), minlength=count)


def _interval(figures: Iterable[float], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a number between 0 and 1")
    defined = [figure for figure in figures if not math.isnan(figure)]
    if not defined:
        return Interval(math.nan, math.nan, 0)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(defined))


def _query_codes(queries: Numbers, arrays: Sequence[npt.NDArray[Any]]) -> tuple[Ints, int]:
    """Codes from 0 in the order of the queries' own, and how many there are."""
    check_shapes(queries=queries, **{f"array {i}": array for i, array in enumerate(arrays)})
    if len(queries) and queries.dtype.kind not in "iu":
        raise ValueError(f"queries are {queries.dtype}, not ints")
    names, codes = np.unique(queries, return_inverse=True)
    return codes.astype(np.int64), len(names)
