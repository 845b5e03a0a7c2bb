"""ARHN's decision: what a judge found and how it ranked → one action per passage. Pure, no I/O.

Source: Choi et al., arXiv 2604.11092 (relabel above, filter below the original positive); every rule for ties, several positives,
failures and near-duplicates is our choice, because the paper does not publish any. The closed table of (action, reason) pairs is
`variants.PLACES`; this file decides which pair a passage gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arhn_hf.methods.duplicates import Prepared
from arhn_hf.records import ANSWER_FAILED, GROUNDED, Answer, Decision, Ranking, Row
from arhn_hf.rules import Rules

_STRENGTH = {"relabel": 3, "filter": 2, "undecided": 1, "keep": 0}


@dataclass(frozen=True, slots=True)
class Treatment:
    """How a row is treated as a whole. `skip` is the reason it is left alone, or `None`.

    `may_relabel` is `None` if relabeling is allowed, else the reason it is not (`filter_only`, `relabel_off`).
    `ranks`: stage 2 was run for this row where it was needed. `not_english`: the judge reads English only, and this is not.
    `beyond`: per negative, whether its snippet ends beyond `--train-max-length`.
    """

    skip: str | None = None
    may_relabel: str | None = None
    ranks: bool = True
    not_english: bool = False
    beyond: tuple[bool, ...] = ()


def positives_state(answers: Sequence[Answer]) -> str:
    """Of the original positives' answers: `answered` (any grounded), else `failed` (any failed or not wholly seen), else `none`."""
    if any(a.status in GROUNDED for a in answers):
        return "answered"
    if any(a.status in ANSWER_FAILED or a.truncated for a in answers):
        return "failed"
    return "none"


def needs_ranking(row: Row, prepared: Prepared, answers: Sequence[Answer], treatment: Treatment, rules: Rules) -> bool:
    """Whether any decision of this row depends on a ranking: an answering negative that might be relabeled."""
    if treatment.skip or treatment.may_relabel or treatment.not_english or not treatment.ranks:
        return False
    count = len(row.positives)
    state = positives_state(answers[:count])
    if state == "failed" or (state == "none" and rules.no_answer_in_positives != "rank"):
        return False
    return any(
        settled is None and answer.status in GROUNDED
        for settled, answer in zip(prepared.outcome, answers[count:], strict=True)
    )


def reference_positive(row: Row, rankings: Sequence[Ranking], rules: Rules) -> int | None:
    """Index of the original positive with the best (or worst) mean place *among the original positives*; `None` if none was ranked.

    Means run over all windows and orders. Ties: the lower position.
    """
    places: dict[int, list[int]] = {}
    by_request: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i in range(len(row.positives)):
        for p in rankings[i].placements:
            by_request.setdefault((p.window, p.order), []).append((p.rank, i))
    for named in by_request.values():
        for place, (_, i) in enumerate(sorted(named), start=1):
            places.setdefault(i, []).append(place)
    if not places:
        return None
    sign = 1 if rules.reference == "best" else -1
    return min(places, key=lambda i: (sign * sum(places[i]) / len(places[i]), i))


def decide(
    row: Row,
    prepared: Prepared,
    answers: Sequence[Answer],
    rankings: Sequence[Ranking],
    treatment: Treatment,
    rules: Rules,
    orders: int,
) -> list[Decision]:
    """One decision per passage of the row, positives first. `answers` and `rankings` are in the order of `row.passages`.

    `orders` is how many orders the judge was asked for (the reader gives one). Every pair returned is in `variants.PLACES`.
    """
    total = len(row.positives) + len(row.negatives)
    if treatment.skip:
        return [Decision("skipped", treatment.skip) for _ in range(total)]
    count = len(row.positives)
    state = positives_state(answers[:count])
    read = any(a.status != "not_judged" for a in answers[:count])  # not where no negative was left to judge
    if read and state == "none" and rules.no_answer_in_positives == "leave" and not treatment.not_english:
        return [Decision("skipped", "row_left") for _ in range(total)]

    reference = reference_positive(row, rankings, rules)
    best_first = _mean_relative_place(rankings)
    raw = [
        Decision(*settled)
        if settled is not None
        else _negative(i, answers[count + i], rankings[count + i], rankings, reference, state, treatment, rules, orders)
        for i, settled in enumerate(prepared.outcome)
    ]
    # Only what earned a relabel itself is promoted, not a near-duplicate that may not be (no snippet, beyond the train length).
    earned = [at if d.action == "relabel" else float("inf") for at, d in zip(best_first[count:], raw, strict=True)]
    _share_clusters(raw, prepared.cluster, best_first[count:])
    _cap(raw, prepared.cluster, earned, rules)

    decisions = [Decision("positive", "original") for _ in range(count)]
    decisions[reference or 0] = Decision("reference", "first" if reference is None else "best_ranked")
    decisions += raw
    # A window that failed in every order leaves no placement: without one for every listed passage nobody can tell whether one
    # window held the list.
    listed = [r for r in rankings if r.status != "not_ranked"]
    single_window = len({p.window for r in listed for p in r.placements}) == 1 and all(r.placements for r in listed)
    for decision, ranking in zip(decisions, rankings, strict=True):
        if single_window and len(ranking.placements) == orders:
            decision.rank = sum(p.rank for p in ranking.placements) / orders
    return decisions


def _negative(
    i: int,
    answer: Answer,
    ranking: Ranking,
    rankings: Sequence[Ranking],
    reference: int | None,
    state: str,
    treatment: Treatment,
    rules: Rules,
    orders: int,
) -> Decision:
    """The outcome of one judged negative on its own, before clusters and caps."""
    if treatment.not_english:
        return Decision("undecided", "not_english")
    if answer.status not in GROUNDED:
        if answer.status != "no_answer":
            return Decision("undecided", "answer_failed")
        return Decision("undecided", "not_wholly_seen") if answer.truncated else Decision("keep", "no_answer")
    if state == "failed":
        return Decision("undecided", "positives_failed")
    if state == "none" and rules.no_answer_in_positives == "filter":
        return Decision("filter", "no_answer_in_positives")
    if treatment.may_relabel:
        return Decision("filter", treatment.may_relabel)
    if not treatment.ranks:
        return Decision("filter", "not_ranked")
    against = {} if reference is None else {(p.window, p.order): p.rank for p in rankings[reference].placements}
    compared = [p.rank < against[p.window, p.order] for p in ranking.placements if (p.window, p.order) in against]
    above = sum(compared)
    if len(compared) < orders:
        return Decision("undecided", "ranking_failed", above, len(compared))
    if above < orders:
        return Decision("filter", "orders_disagree" if above else "below_reference", above, orders)
    if treatment.beyond and treatment.beyond[i]:
        return Decision("filter", "beyond_train_length", above, orders)
    return Decision("relabel", "above_reference", above, orders)


def _mean_relative_place(rankings: Sequence[Ranking]) -> list[float]:
    """Per passage, the mean of place ÷ length of that window and order (its highest place); unranked passages come last."""
    length: dict[tuple[int, int], int] = {}
    for ranking in rankings:
        for p in ranking.placements:
            length[p.window, p.order] = max(length.get((p.window, p.order), 0), p.rank)
    return [
        sum(p.rank / length[p.window, p.order] for p in r.placements) / len(r.placements)
        if r.placements
        else float("inf")
        for r in rankings
    ]


def _members(cluster: Sequence[int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(cluster):
        if number >= 0:
            groups.setdefault(number, []).append(i)
    return groups


def _share_clusters(raw: list[Decision], cluster: Sequence[int], place: Sequence[float]) -> None:
    """Every member of a near-duplicate cluster takes the strongest outcome among them, with its reason."""
    for members in _members(cluster).values():
        if len(members) < 2:
            continue
        strongest = max(_STRENGTH[raw[i].action] for i in members)
        giver = min((i for i in members if _STRENGTH[raw[i].action] == strongest), key=lambda i: (place[i], i))
        for i in members:
            raw[i].action, raw[i].reason = raw[giver].action, raw[giver].reason


def _cap(raw: list[Decision], cluster: Sequence[int], place: Sequence[float], rules: Rules) -> None:
    """Rule 6: an ambiguous row only filters; at most `max_new_positives` clusters are promoted, best first; then, of each
    promoted cluster, the best-ranked member stays a relabel and the others become duplicates."""
    groups = [members for members in _members(cluster).values() if raw[members[0]].action == "relabel"]
    best = {members[0]: min(members, key=lambda i: (place[i], i)) for members in groups}
    groups.sort(key=lambda members: (place[best[members[0]]], best[members[0]]))
    if len(groups) > rules.ambiguous_above:
        for members in groups:
            for i in members:
                raw[i].action, raw[i].reason = "filter", "ambiguous_row"
        return
    for number, members in enumerate(groups):
        for i in members:
            if number >= rules.max_new_positives:
                raw[i].action, raw[i].reason = "filter", "over_cap"
            elif i != best[members[0]]:
                raw[i].action, raw[i].reason = "duplicate", "near_new_positive"
            else:
                raw[i].new_position = number + 1
