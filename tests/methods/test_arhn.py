"""The decision rules as a table: what the judge said of a row → the (action, reason) of every passage.

A case is written in a small notation. Answers, one letter per passage: `a` answered, `~` approximate, `-` no answer,
`c` no answer in what was seen of a long passage, `m` malformed, `u` ungrounded, `x` cut off, `r` refused, `e` engine
error, `.` not judged. Rankings: `"n0 p0 n1"` is one request's list, best first; several requests are
`{(window, order): list}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arhn_hf.methods.arhn import Treatment, decide, needs_ranking, positives_state, reference_positive
from arhn_hf.methods.duplicates import Prepared
from arhn_hf.records import VARIANTS, Answer, Cell, Decision, Label, Passage, Placement, Ranking, Row
from arhn_hf.rules import Rules
from arhn_hf.variants import PLACES, place

ANSWERS = {
    "a": ("answered", False), "~": ("approximate", False), "-": ("no_answer", False), "c": ("no_answer", True),
    "m": ("malformed", False), "u": ("ungrounded", False), "x": ("cut_off", False), "r": ("refused", False),
    "e": ("engine_error", False), ".": ("not_judged", False),
}  # fmt: skip
Lists = Mapping[tuple[int, int], str]
BOTH = Treatment()


def make_row(positives: int, negatives: int) -> Row:
    def passages(label: Label, count: int) -> list[Passage]:
        return [Passage(label, i, None, f"{label} {i}", None, [Cell(0, label, i)]) for i in range(count)]

    return Row(0, [0], "query", passages("positive", positives), passages("negative", negatives))


def to_answers(letters: str) -> list[Answer]:
    return [
        Answer(status, truncated=truncated, snippet="s" if letter in "a~" else None)
        for letter in letters
        for status, truncated in [ANSWERS[letter]]
    ]


def to_rankings(positives: int, total: int, lists: Lists) -> list[Ranking]:
    rankings = [Ranking() for _ in range(total)]
    for (window, order), named in lists.items():
        for rank, name in enumerate(named.split(), start=1):
            index = int(name[1:]) + (0 if name[0] == "p" else positives)
            rankings[index].status = "ranked"
            rankings[index].placements.append(Placement(window, order, rank))
    return rankings


@dataclass
class Case:
    """One row of the table. `then` names the action/reason of the positives, then of the negatives."""

    name: str
    positives: str
    negatives: str
    then: str
    lists: Lists | Sequence[str] = ()
    rules: dict[str, Any] = field(default_factory=dict)
    treatment: Treatment = BOTH
    outcome: list[tuple[str, str] | None] | None = None
    cluster: list[int] | None = None
    orders: int = 2

    def decide(self) -> list[Decision]:
        count = len(self.negatives)
        lists = self.lists if isinstance(self.lists, Mapping) else {(0, i): one for i, one in enumerate(self.lists)}
        outcome = self.outcome or [None] * count
        cluster = self.cluster or [i if one is None else -1 for i, one in enumerate(outcome)]
        return decide(
            make_row(len(self.positives), count),
            Prepared(outcome, cluster),
            to_answers(self.positives + self.negatives),
            to_rankings(len(self.positives), len(self.positives) + count, lists),
            self.treatment,
            Rules(**self.rules),
            self.orders,
        )


def said(decisions: Sequence[Decision]) -> str:
    return " ".join(f"{d.action}/{d.reason}" for d in decisions)


REF, FIRST, POS = "reference/best_ranked", "reference/first", "positive/original"
UP, BELOW, SPLIT = "relabel/above_reference", "filter/below_reference", "filter/orders_disagree"
KEEP, NO_RANK, FAILED = "keep/no_answer", "undecided/ranking_failed", "undecided/answer_failed"
SAME_COPY, NEAR_NEW = "duplicate/equals_positive", "duplicate/near_new_positive"
NO_POS = "filter/no_answer_in_positives"

CASES = [
    # Rules 3, 4 and 5
    Case("nothing to rank", "a", "--", f"{FIRST} {KEEP} {KEEP}"),
    Case("no negatives", ".", "", FIRST),
    Case("above in every order", "a", "a", f"{REF} {UP}", ["n0 p0", "n0 p0"]),
    Case("an approximate snippet is a snippet", "~", "~", f"{REF} {UP}", ["n0 p0", "n0 p0"]),
    Case("below in every order", "a", "a", f"{REF} {BELOW}", ["p0 n0", "p0 n0"]),
    Case("the orders disagree", "a", "a", f"{REF} {SPLIT}", ["p0 n0", "n0 p0"]),
    Case("above, below, disagreeing and without answer", "a", "aaa-", f"{REF} {UP} {BELOW} {SPLIT} {KEEP}",
         ["n2 n0 p0 n1", "n0 p0 n1 n2"]),
    Case("a ranked passage without a snippet stays", "a", "-a", f"{REF} {KEEP} {BELOW}", ["n0 p0 n1", "n0 p0 n1"]),
    Case("one order only", "a", "aa", f"{REF} {UP} {BELOW}", ["n0 p0 n1"], orders=1),
    Case("three orders, two of them above", "a", "a", f"{REF} {SPLIT}", ["n0 p0", "n0 p0", "p0 n0"], orders=3),
    # Rule 2: the reference
    Case("best mean place among the positives", "aa", "a", f"{POS} {REF} {BELOW}", ["p1 n0 p0", "p1 n0 p0"]),
    Case("the worst, by option", "aa", "a", f"{REF} {POS} {UP}", ["p1 n0 p0", "p1 n0 p0"], {"reference": "worst"}),
    Case("a tie goes to the lower position", "aa", "a", f"{REF} {POS} {SPLIT}", ["p0 n0 p1", "p1 n0 p0"]),
    Case("a tie goes to the lower position, worst too", "aa", "a", f"{REF} {POS} {SPLIT}", ["p0 n0 p1", "p1 n0 p0"],
         {"reference": "worst"}),
    Case("places among the positives, not places in the list", "aa", "aaa", f"{POS} {REF} {BELOW} {BELOW} {UP}",
         {(0, 0): "p1 n0 p0", (0, 1): "p1 p0 n0", (1, 0): "n2 p0 p1 n1", (1, 1): "n2 p1 n1 p0"}),
    Case("a positive without an answer can be the reference", "-a", "a", f"{REF} {POS} {BELOW}",
         ["p0 n0 p1", "p0 n0 p1"]),
    Case("only the positives that were ranked compete", "aaa", "a", f"{POS} {REF} {POS} {UP}", ["n0 p1", "n0 p1"]),
    Case("none ranked: the first", "aa", "-", f"{FIRST} {POS} {KEEP}"),
    # Several windows: each candidate against the reference of its own window
    Case("several windows", "a", "aaa", f"{REF} {UP} {BELOW} {UP}",
         {(0, 0): "n0 p0 n1", (0, 1): "n0 p0 n1", (1, 0): "n2 p0", (1, 1): "n2 p0"}),
    Case("one window failed in one order", "a", "aa", f"{REF} {UP} {NO_RANK}",
         {(0, 0): "n0 p0", (0, 1): "n0 p0", (1, 0): "n1 p0"}),
    # Undecided
    *(Case(f"answer {letter!r} is never clean", "a", letter, f"{FIRST} {FAILED}") for letter in "muxre"),
    Case("not judged at all", "a", ".", f"{FIRST} {FAILED}"),
    Case("no answer in a passage not wholly seen", "a", "c", f"{FIRST} undecided/not_wholly_seen"),
    Case("a snippet in a passage not wholly seen is a snippet", "a", "a", f"{REF} {UP}", ["n0 p0", "n0 p0"]),
    Case("left out of both orders", "a", "aa", f"{REF} {NO_RANK} {UP}", ["n1 p0", "n1 p0"]),
    Case("left out of one order", "a", "aa", f"{REF} {NO_RANK} {UP}", ["n0 n1 p0", "n1 p0"]),
    Case("left out of one order, below in the other", "a", "aa", f"{REF} {NO_RANK} {UP}", ["n1 p0 n0", "n1 p0"]),
    Case("the reference is missing from one order", "a", "aa", f"{REF} {NO_RANK} {NO_RANK}", ["n0 p0 n1", "n0 n1"]),
    Case("the reference is missing from one order, another positive is not", "aa", "a", f"{REF} {POS} {NO_RANK}",
         ["p0 p1 n0", "n0 p1"]),
    Case("the reference is missing from both", "a", "aa", f"{FIRST} {NO_RANK} {NO_RANK}", ["n0 n1", "n0 n1"]),
    Case("the ranking failed as a whole", "a", "aa", f"{FIRST} {NO_RANK} {NO_RANK}"),
    Case("no positive answers and one failed", "-m", "a-m",
         f"{FIRST} {POS} undecided/positives_failed {KEEP} {FAILED}"),
    Case("a positive not wholly seen", "c", "a", f"{FIRST} undecided/positives_failed"),
    Case("an ungrounded positive", "u", "a", f"{FIRST} undecided/positives_failed"),
    Case("positives failed in a filter-only subset", "m", "a", f"{FIRST} undecided/positives_failed",
         treatment=Treatment(may_relabel="filter_only")),
    Case("positives failed without stage 2", "m", "a", f"{FIRST} undecided/positives_failed",
         treatment=Treatment(ranks=False)),
    Case("one positive answers, another failed", "am", "a", f"{REF} {POS} {UP}", ["n0 p0 p1", "n0 p0 p1"]),
    Case("not English", "..", "..", f"{FIRST} {POS} undecided/not_english undecided/not_english",
         treatment=Treatment(not_english=True)),
    Case("not English: duplicates leave all the same", ".", "..", f"{FIRST} {SAME_COPY} undecided/not_english",
         treatment=Treatment(not_english=True), outcome=[("duplicate", "equals_positive"), None]),
    Case("not English: nothing was read, so the row is not left", ".", ".", f"{FIRST} undecided/not_english",
         rules={"no_answer_in_positives": "leave"}, treatment=Treatment(not_english=True)),
    # No answer in any original positive
    Case("no positive answers: filter", "--", "a-", f"{FIRST} {POS} {NO_POS} {KEEP}"),
    Case("no positive answers: rank", "-", "aa", f"{REF} {UP} {BELOW}", ["n0 p0 n1", "n0 p0 n1"],
         {"no_answer_in_positives": "rank"}),
    Case("no positive answers: leave", "-", "a-m", " ".join(["skipped/row_left"] * 4),
         rules={"no_answer_in_positives": "leave"}),
    Case("no positive answers: leave, duplicates too", "-", "a.", " ".join(["skipped/row_left"] * 3),
         rules={"no_answer_in_positives": "leave"}, outcome=[None, ("duplicate", "equals_positive")]),
    Case("leave speaks of rows that were read: all negatives settled", ".", ".", f"{FIRST} {SAME_COPY}",
         rules={"no_answer_in_positives": "leave"}, outcome=[("duplicate", "equals_positive")]),
    Case("leave speaks of rows that were read: no negatives", ".", "", FIRST,
         rules={"no_answer_in_positives": "leave"}),
    Case("a failed positive is not a missing answer", "m", "a", f"{FIRST} undecided/positives_failed",
         rules={"no_answer_in_positives": "leave"}),
    # Relabeling off
    Case("filter-only subset", "a", "a-", f"{FIRST} filter/filter_only {KEEP}",
         treatment=Treatment(may_relabel="filter_only")),
    Case("relabeling off", "a", "a-", f"{FIRST} filter/relabel_off {KEEP}",
         treatment=Treatment(may_relabel="relabel_off")),
    Case("no positive answers in a filter-only subset", "-", "a", f"{FIRST} {NO_POS}",
         treatment=Treatment(may_relabel="filter_only")),
    Case("stage 2 not run", "a", "a-c", f"{FIRST} filter/not_ranked {KEEP} undecided/not_wholly_seen",
         treatment=Treatment(ranks=False)),
    Case("stage 2 not run where it was not needed", "-", "a", f"{FIRST} {NO_POS}", treatment=Treatment(ranks=False)),
    Case("beyond the train length", "a", "aaa", f"{REF} filter/beyond_train_length {UP} {BELOW}",
         ["n0 n1 p0 n2", "n0 n1 p0 n2"], treatment=Treatment(beyond=(True, False, True))),
    # Whole rows
    *(Case(f"skipped: {reason}", "a-", "a.", " ".join([f"skipped/{reason}"] * 4), ["n0 p0", "n0 p0"],
         treatment=Treatment(reason))
      for reason in ("invalid_row", "criterion_skip", "subset_untouched")),
    Case("skipped rows keep their duplicates", ".", ".", "skipped/subset_untouched skipped/subset_untouched",
         treatment=Treatment("subset_untouched"), outcome=[("duplicate", "equals_positive")]),
    # Settled before judging
    *(Case(f"settled: {action}/{reason}", "a", ".a", f"{REF} {action}/{reason} {BELOW}", ["p0 n1", "p0 n1"],
           outcome=[(action, reason), None])
      for action, reason in (("duplicate", "equals_positive"), ("duplicate", "equals_positive_elsewhere"),
                             ("duplicate", "near_positive"), ("skipped", "max_negatives"))),
    # Rule 1: clusters take the strongest outcome, with its reason
    Case("relabel > filter: the best-ranked is promoted", "a", "aa", f"{REF} {NEAR_NEW} {UP}", ["n1 p0 n0", "n1 p0 n0"],
         cluster=[0, 0]),
    Case("relabel > undecided > keep", "a", "-ma", f"{REF} {NEAR_NEW} {NEAR_NEW} {UP}", ["n2 p0", "n2 p0"],
         cluster=[0, 0, 0]),
    Case("filter > undecided > keep", "a", "a-m", f"{REF} {BELOW} {BELOW} {BELOW}", ["p0 n0", "p0 n0"],
         cluster=[0, 0, 0]),
    Case("undecided > keep", "a", "-c", f"{FIRST} undecided/not_wholly_seen undecided/not_wholly_seen", cluster=[0, 0]),
    Case("keep alone: nobody leaves for being a near-duplicate", "a", "---", f"{FIRST} {KEEP} {KEEP} {KEEP}",
         cluster=[0, 0, 0]),
    Case("of equal outcomes, the best-ranked member's reason", "a", "aa", f"{REF} {SPLIT} {SPLIT}",
         ["p0 n1 n0", "n1 p0 n0"], cluster=[0, 0]),
    Case("two clusters do not mix", "a", "a-a-", f"{REF} {UP} {NEAR_NEW} {BELOW} {BELOW}", ["n0 p0 n2", "n0 p0 n2"],
         cluster=[0, 0, 2, 2]),
    Case("the first of the promoted, by mean place", "a", "aa", f"{REF} {NEAR_NEW} {UP}", ["n1 n0 p0", "n1 n0 p0"],
         cluster=[0, 0]),
    Case("a tie in a cluster goes to the lower position", "a", "aa", f"{REF} {UP} {NEAR_NEW}", ["n1 n0 p0", "n0 n1 p0"],
         cluster=[0, 0]),
    Case("an answer beyond the train length is never promoted for its near-duplicate", "a", "aa",
         f"{REF} {NEAR_NEW} {UP}",
         ["n0 n1 p0", "n0 n1 p0"], treatment=Treatment(beyond=(True, False)), cluster=[0, 0]),
    Case("a passage without a snippet is never promoted for its near-duplicate", "a", "-a", f"{REF} {NEAR_NEW} {UP}",
         ["n0 n1 p0", "n0 n1 p0"], cluster=[0, 0]),
    Case("clusters where the positives failed", "m", "a-",
         f"{FIRST} undecided/positives_failed undecided/positives_failed",
         cluster=[0, 0]),
    # Rule 6: caps, best first, counted in clusters
    Case("over the cap", "a", "aaaa", f"{REF} {UP} filter/over_cap {UP} {UP}", ["n2 n0 n3 n1 p0"] * 2),
    Case("a cap of one", "a", "aa", f"{REF} filter/over_cap {UP}", ["n1 n0 p0"] * 2, {"max_new_positives": 1}),
    Case("a cap of none", "a", "aa", f"{REF} filter/over_cap {BELOW}", ["n0 p0 n1"] * 2, {"max_new_positives": 0}),
    Case("the cap counts clusters", "a", "aaa", f"{REF} {UP} {NEAR_NEW} {UP}", ["n0 n1 n2 p0"] * 2,
         {"max_new_positives": 2},
         cluster=[0, 0, 2]),
    Case("a cluster over the cap is filtered whole", "a", "aaa", f"{REF} {UP} filter/over_cap filter/over_cap",
         ["n0 n1 p0 n2"] * 2, {"max_new_positives": 1}, cluster=[0, 1, 1]),
    Case("seven relabels are not ambiguous", "a", "a" * 7, f"{REF} {UP} {UP} {UP}" + " filter/over_cap" * 4,
         ["n0 n1 n2 n3 n4 n5 n6 p0"] * 2),
    Case("eight are", "a", "a" * 8, REF + " filter/ambiguous_row" * 8, ["n0 n1 n2 n3 n4 n5 n6 n7 p0"] * 2),
    Case("ambiguity counts clusters", "a", "aaa", f"{REF} {UP} {NEAR_NEW} {UP}", ["n0 n1 n2 p0"] * 2,
         {"ambiguous_above": 2},
         cluster=[0, 0, 2]),
    Case("in an ambiguous row clusters are filtered whole, the rest goes on", "a", "aa-a-",
         f"{REF} filter/ambiguous_row filter/ambiguous_row filter/ambiguous_row {BELOW} {KEEP}",
         ["n0 n1 p0 n3"] * 2, {"ambiguous_above": 1}, cluster=[0, 1, 1, 3, 4]),
    # Shares: n0 1/3, n1 2/3, n2 1/2.
    Case("places in windows of different length are compared as shares", "a", "aaa", f"{REF} {UP} filter/over_cap {UP}",
         {(0, 0): "n0 n1 p0", (0, 1): "n0 n1 p0", (1, 0): "n2 p0", (1, 1): "n2 p0"}, {"max_new_positives": 2}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_decision(case: Case) -> None:
    assert said(case.decide()) == case.then


def test_every_pair_of_the_closed_table_has_a_case() -> None:
    told = {tuple(one.split("/")) for case in CASES for one in case.then.split()}
    assert told == set(PLACES)


def test_new_positives_are_numbered_best_first() -> None:
    decisions = Case("", "a", "aaaa", "", ["n2 n0 n3 p0 n1"] * 2).decide()
    assert [d.new_position for d in decisions] == [None, 2, None, 1, 3]


def test_votes() -> None:
    decisions = Case("", "a", "aaa-a", "", ["n0 n1 p0 n2", "n0 p0 n1 n2 n4"]).decide()
    assert [(d.votes_above, d.votes) for d in decisions] == [(None, None), (2, 2), (1, 2), (0, 2), (None, None), (0, 1)]


def test_rank_is_the_mean_over_orders_of_a_whole_list() -> None:
    decisions = Case("", "a", "aaa", "", ["n0 n1 p0 n2", "n1 n0 p0"]).decide()
    assert [d.rank for d in decisions] == [3.0, 1.5, 1.5, None]


def test_rank_is_null_where_several_windows_held_the_list() -> None:
    lists = {(0, 0): "n0 p0", (0, 1): "n0 p0", (1, 0): "n1 p0", (1, 1): "n1 p0"}
    assert [d.rank for d in Case("", "a", "aa", "", lists).decide()] == [None] * 3


def test_rank_is_null_where_another_window_failed_wholly() -> None:
    row, answers = make_row(1, 2), to_answers("aaa")
    rankings = to_rankings(1, 3, {(0, 0): "n0 p0", (0, 1): "n0 p0"})
    rankings[2].status = "malformed"  # it was alone with the positive in window 1
    decisions = decide(row, Prepared([None, None], [0, 1]), answers, rankings, BOTH, Rules(), 2)
    assert [d.rank for d in decisions] == [None] * 3


@pytest.mark.parametrize(
    ("letters", "state"),
    [("a", "answered"), ("-~", "answered"), ("ma", "answered"), ("-", "none"), ("--", "none"), ("-m", "failed"),
    ("u", "failed"),
     ("c", "failed"), ("-c", "failed"), ("xre", "failed")],
)  # fmt: skip
def test_positives_state(letters: str, state: str) -> None:
    assert positives_state(to_answers(letters)) == state


NEEDS = [
    ("an answering negative", "a", "a", BOTH, {}, True),
    ("none answers", "a", "-cm", BOTH, {}, False),
    ("no negatives", "a", "", BOTH, {}, False),
    ("positives failed", "m", "a", BOTH, {}, False),
    ("no positive answers", "-", "a", BOTH, {}, False),
    ("no positive answers, leave", "-", "a", BOTH, {"no_answer_in_positives": "leave"}, False),
    ("no positive answers, rank", "-", "a", BOTH, {"no_answer_in_positives": "rank"}, True),
    ("filter only", "a", "a", Treatment(may_relabel="filter_only"), {}, False),
    ("relabeling off", "a", "a", Treatment(may_relabel="relabel_off"), {}, False),
    ("skipped", "a", "a", Treatment("criterion_skip"), {}, False),
    ("stage 2 not run", "a", "a", Treatment(ranks=False), {}, False),
    ("not English", "a", "a", Treatment(not_english=True), {}, False),
]


@pytest.mark.parametrize(
    ("name", "positives", "negatives", "treatment", "rules", "needed"), NEEDS, ids=[n[0] for n in NEEDS]
)
def test_needs_ranking(
    name: str, positives: str, negatives: str, treatment: Treatment, rules: dict[str, Any], needed: bool
) -> None:
    row = make_row(len(positives), len(negatives))
    prepared = Prepared([None] * len(negatives), list(range(len(negatives))))
    assert needs_ranking(row, prepared, to_answers(positives + negatives), treatment, Rules(**rules)) is needed


def test_a_settled_negative_needs_no_ranking() -> None:
    prepared = Prepared([("duplicate", "near_positive"), None], [-1, 1])
    assert not needs_ranking(make_row(1, 2), prepared, to_answers("aa-"), BOTH, Rules())


def test_reference_is_none_without_a_placement() -> None:
    assert reference_positive(make_row(2, 1), to_rankings(2, 3, {(0, 0): "n0"}), Rules()) is None


# ---- properties


@dataclass
class Judged:
    """A random row as the judge left it."""

    positives: int
    answers: list[Answer]
    rankings: list[Ranking]
    prepared: Prepared
    treatment: Treatment
    rules: Rules
    orders: int

    @property
    def negatives(self) -> int:
        return len(self.answers) - self.positives

    def decide(self) -> list[Decision]:
        row = make_row(self.positives, self.negatives)
        return decide(row, self.prepared, self.answers, self.rankings, self.treatment, self.rules, self.orders)

    def permuted(self, order: Sequence[int]) -> Judged:
        """The same row with its negatives in another order."""
        p = self.positives
        names: dict[int, int] = {}
        cluster = [self.prepared.cluster[i] for i in order]
        cluster = [-1 if c == -1 else names.setdefault(c, i) for i, c in enumerate(cluster)]
        beyond = self.treatment.beyond
        treatment = Treatment(
            self.treatment.skip, self.treatment.may_relabel, self.treatment.ranks, self.treatment.not_english,
            tuple(beyond[i] for i in order) if beyond else (),
        )  # fmt: skip
        return Judged(
            p, self.answers[:p] + [self.answers[p + i] for i in order],
            self.rankings[:p] + [self.rankings[p + i] for i in order],
            Prepared([self.prepared.outcome[i] for i in order], cluster), treatment, self.rules, self.orders,
        )  # fmt: skip


SETTLED = [
    ("duplicate", "equals_positive"), ("duplicate", "equals_positive_elsewhere"), ("duplicate", "near_positive"),
    ("skipped", "max_negatives"),
]  # fmt: skip


@st.composite
def judged_rows(draw: st.DrawFn, *, whole: bool = False) -> Judged:
    """`whole`: every negative is ranked in every order of one window, so that nothing is tied by being unranked."""
    positives, negatives = draw(st.integers(1, 3)), draw(st.integers(0, 9))
    total = positives + negatives
    alphabet = "a~" if whole else "aaaa~-cmuxre."
    letters = draw(st.text(st.sampled_from(alphabet), min_size=total, max_size=total))
    outcome = [draw(st.sampled_from(SETTLED)) if draw(st.integers(0, 5)) == 0 else None for _ in range(negatives)]
    cluster: list[int] = []
    for i, settled in enumerate(outcome):
        earlier = [c for c in cluster if c >= 0]
        cluster.append(-1 if settled else draw(st.sampled_from([i, i, *earlier])))
    orders = draw(st.integers(1, 3))
    size = max(1, negatives if whole else draw(st.integers(1, 9)))
    rankings = [Ranking() for _ in range(total)]
    for window, start in enumerate(range(0, negatives, size)):
        items = [*range(positives), *range(positives + start, positives + min(negatives, start + size))]
        for order in range(orders):
            shown = draw(st.permutations(items))
            if not whole:
                shown = shown[: draw(st.sampled_from([len(shown), len(shown), len(shown) - 1, 0]))]
            for rank, i in enumerate(shown, start=1):
                rankings[i].placements.append(Placement(window, order, rank))
                rankings[i].status = "ranked"
    skips = [None] * 6 + ["invalid_row", "criterion_skip", "subset_untouched"]
    treatment = Treatment(
        skip=None if whole else draw(st.sampled_from(skips)),
        may_relabel=draw(st.sampled_from([None, None, None, "filter_only", "relabel_off"])),
        ranks=whole or draw(st.booleans()),
        not_english=not whole and draw(st.integers(0, 6)) == 0,
        beyond=draw(st.sampled_from([(), tuple(draw(st.booleans()) for _ in range(negatives))])),
    )
    rules = Rules(
        reference=draw(st.sampled_from(["best", "worst"])),
        no_answer_in_positives=draw(st.sampled_from(["filter", "leave", "rank"])),
        filter_scope=draw(st.sampled_from(["all", "below"])),
        undecided=draw(st.sampled_from(["keep", "remove"])),
        max_new_positives=draw(st.integers(0, 4)),
        ambiguous_above=draw(st.integers(0, 8)),
    )
    return Judged(positives, to_answers(letters), rankings, Prepared(outcome, cluster), treatment, rules, orders)


@settings(max_examples=120, deadline=None, database=None)
@given(judged_rows())
def test_every_decision_is_a_pair_of_the_table_with_a_place_in_every_variant(case: Judged) -> None:
    decisions = case.decide()
    labels = ["positive"] * case.positives + ["negative"] * case.negatives
    assert len(decisions) == len(labels)
    for decision, label in zip(decisions, labels, strict=True):
        assert (decision.action, decision.reason) in PLACES
        for variant in VARIANTS:
            where = place(decision, label, variant, case.rules)
            assert where in ("positive", "negative", "removed") or (
                decision.reason == "not_ranked" and variant != "filter"
            )
            assert label == "negative" or where == "positive", "an original positive never leaves"


@settings(max_examples=120, deadline=None, database=None)
@given(judged_rows())
def test_one_reference_per_row_and_never_more_new_positives_than_the_cap(case: Judged) -> None:
    decisions = case.decide()
    skipped = [d for d in decisions if d.action == "skipped" and d.reason != "max_negatives"]
    references = [i for i, d in enumerate(decisions) if d.action == "reference"]
    if skipped:
        assert len(skipped) == len(decisions)
        assert references == []
        return
    assert len(references) == 1
    assert references[0] < case.positives
    relabeled = [i for i, d in enumerate(decisions) if d.action == "relabel"]
    assert len(relabeled) <= case.rules.max_new_positives
    assert sorted(decisions[i].new_position or 0 for i in relabeled) == list(range(1, len(relabeled) + 1))
    reference = case.rankings[references[0]]
    against = {(p.window, p.order): p.rank for p in reference.placements}
    for i in relabeled:
        assert case.answers[i].status in ("answered", "approximate")
        assert len(case.rankings[i].placements) == case.orders
        assert all(p.rank < against[p.window, p.order] for p in case.rankings[i].placements)
        assert not case.treatment.beyond or not case.treatment.beyond[i - case.positives]


@settings(max_examples=120, deadline=None, database=None)
@given(judged_rows())
def test_what_failed_is_never_clean(case: Judged) -> None:
    """A negative whose own judgement failed is `keep` under no rules; at most it follows a stronger near-duplicate."""
    decisions = case.decide()[case.positives :]
    for i, decision in enumerate(decisions):
        answer = case.answers[case.positives + i]
        if case.prepared.outcome[i] is None and decision.action == "keep":
            assert (answer.status, answer.truncated) == ("no_answer", False)


@settings(max_examples=100, deadline=None, database=None)
@given(judged_rows(), st.randoms(use_true_random=False))
def test_order_of_negatives_does_not_matter_without_clusters(case: Judged, random: Any) -> None:
    case.prepared.cluster = [i if c >= 0 else -1 for i, c in enumerate(case.prepared.cluster)]
    case.rules = Rules(
        **{**vars(case.rules), "max_new_positives": 99, "ambiguous_above": 99}
    )  # caps break ties by position
    check_permutation(case, random)


@settings(max_examples=120, deadline=None, database=None)
@given(judged_rows(whole=True), st.randoms(use_true_random=False))
def test_order_of_negatives_does_not_matter_without_ties(case: Judged, random: Any) -> None:
    means = [sum(p.rank for p in r.placements) for r in case.rankings[case.positives :]]
    assume(len(set(means)) == len(means))
    check_permutation(case, random, positions=True)


def check_permutation(case: Judged, random: Any, *, positions: bool = False) -> None:
    order = list(range(case.negatives))
    random.shuffle(order)
    before, after = case.decide(), case.permuted(order).decide()

    def told(decision: Decision) -> tuple[Any, ...]:
        base = (decision.action, decision.reason, decision.votes_above, decision.votes, decision.rank)
        return (*base, decision.new_position) if positions else base

    p = case.positives
    assert list(map(told, after)) == [told(d) for d in before[:p]] + [told(before[p + i]) for i in order]


@settings(max_examples=100, deadline=None, database=None)
@given(judged_rows())
def test_a_cluster_has_one_outcome(case: Judged) -> None:
    decisions = case.decide()[case.positives :]
    for number in {c for c in case.prepared.cluster if c >= 0}:
        members = [decisions[i] for i, c in enumerate(case.prepared.cluster) if c == number]
        promoted = [d for d in members if d.action == "relabel"]
        if promoted:
            assert len(promoted) == 1
            rest = {(d.action, d.reason) for d in members if d is not promoted[0]}
            assert rest <= {("duplicate", "near_new_positive")}
        else:
            assert len({(d.action, d.reason) for d in members}) == 1


@settings(max_examples=100, deadline=None, database=None)
@given(judged_rows())
def test_deciding_changes_nothing_it_was_given(case: Judged) -> None:
    before = repr(case)
    case.decide()
    assert repr(case) == before
