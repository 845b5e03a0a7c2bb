"""The picture of what happened to the negatives: true to the counts, safe with any name, the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from arhn_hf.publishing.picture import render_picture

KINDS = ("relabel", "filter", "duplicate", "undecided", "keep", "skipped")
SVG = "{http://www.w3.org/2000/svg}"
BAR = 600.0
HOSTILE = "</svg><script>alert(1)</script>&\"'\x00\ud800\u202e"
Element = ElementTree.Element


def row(subset: str | None, *counts: int) -> dict[str, Any]:
    """A row of `Summary.before_after()` with these counts, in the order of `KINDS`."""
    return {"subset": subset, "positives": 7, "negatives": sum(counts), **dict(zip(KINDS, counts, strict=True))}


SIX = [
    row("claims", 120, 900, 33, 210, 4200, 0), row("code", 0, 0, 0, 0, 0, 5120), row("empty", 0, 0, 0, 0, 0, 0),
    row("facts", 3200, 4400, 310, 90, 12800, 1), row("forum", 1, 1, 1, 0, 0, 0),
    row("howto", 2210, 3105, 180, 260, 8002, 500),
]  # fmt: skip
THIRTY = [row(f"subset-{i:02d}", 1, 2, 3, 4, (i * 7) % 30, 5) for i in range(30)]


def parsed(rows: list[dict[str, Any]], title: str = "What happened") -> Element:
    return ElementTree.fromstring(render_picture(rows, title=title).encode("utf-8"))


def bars(root: Element) -> list[Element]:
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == "bar"]


def texts(element: Element) -> list[str]:
    return [one.text or "" for one in element.iter(f"{SVG}text")]


def names(root: Element) -> list[str]:
    return [texts(bar)[0] for bar in bars(root)]


def told(bar: Element) -> str:
    return bar.findtext(f"{SVG}title") or ""


def segments(bar: Element) -> dict[str, tuple[float, float]]:
    """Start and width of every segment drawn, by kind."""
    found = [one for one in bar.iter(f"{SVG}rect") if one.get("class") in KINDS]
    return {str(one.get("class")): (float(str(one.get("x"))), float(str(one.get("width")))) for one in found}


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def everything(root: Element) -> Iterator[tuple[str, str]]:
    """Every element and attribute as (name, value), names without their namespace."""
    for element in root.iter():
        yield element.tag.removeprefix(SVG), element.text or ""
        yield from element.attrib.items()


@pytest.mark.parametrize("rows", [SIX, THIRTY, SIX[:1]], ids=["six", "thirty", "one"])
def test_segments_fill_the_bar_by_their_shares(rows: list[dict[str, Any]]) -> None:
    by_name = {one["subset"]: one for one in rows}
    seen = 0
    for bar in bars(parsed(rows)):
        one = by_name.get(texts(bar)[0])
        if one is None or not one["negatives"]:
            continue
        seen += 1
        drawn = segments(bar)
        assert sum(width for _, width in drawn.values()) == pytest.approx(BAR, abs=0.005)
        assert set(drawn) == {kind for kind in KINDS if one[kind]}
        for kind, (_, width) in drawn.items():
            assert width == pytest.approx(BAR * one[kind] / one["negatives"], abs=0.0101)
    assert seen == {6: 5, 30: 23, 1: 1}[len(rows)]


def test_segments_touch_and_keep_their_order() -> None:
    drawn = segments(bars(parsed([row("facts", 7, 11, 13, 17, 19, 23)]))[0])
    assert tuple(drawn) == KINDS
    places = list(drawn.values())
    for (start, width), (following, _) in zip(places, places[1:], strict=False):
        assert start + width == pytest.approx(following, abs=0.005)


def test_the_bar_of_all_sums_the_subsets() -> None:
    top = bars(parsed(SIX))[0]
    total = sum(one["negatives"] for one in SIX)
    assert texts(top)[0] == "all"
    assert texts(top)[-1] == f"{total:,}"
    for kind, (_, width) in segments(top).items():
        assert width == pytest.approx(BAR * sum(one[kind] for one in SIX) / total, abs=0.0101)


def test_one_subset_has_one_bar() -> None:
    assert names(parsed([row("facts", 1, 2, 3, 4, 5, 6)])) == ["facts"]
    assert names(parsed([row(None, 1, 2, 3, 4, 5, 6)])) == ["(all)"]


def test_several_subsets_stand_below_all_in_their_order() -> None:
    assert names(parsed(SIX)) == ["all", "claims", "code", "empty", "facts", "forum", "howto"]


def test_no_rows_are_an_empty_bar() -> None:
    assert texts(bars(parsed([]))[0]) == ["(all)", "no negatives", "0"]


def test_twenty_four_subsets_have_a_bar_each() -> None:
    assert names(parsed(THIRTY[:24])) == ["all", *(one["subset"] for one in THIRTY[:24])]


def test_of_thirty_subsets_the_smallest_share_a_bar() -> None:
    root = parsed(THIRTY)
    smallest = sorted(THIRTY, key=lambda one: one["negatives"])[:7]
    left_out = {one["subset"] for one in smallest}
    shown = [one["subset"] for one in THIRTY if one["subset"] not in left_out]
    assert names(root) == ["all", *shown, "7 more subsets"]
    last = bars(root)[-1]
    assert texts(last)[-1] == str(sum(one["negatives"] for one in smallest))
    assert f"{sum(one['keep'] for one in smallest)} (" in told(last)
    assert texts(bars(root)[0])[-1] == str(sum(one["negatives"] for one in THIRTY))


def test_of_equally_large_subsets_the_first_are_shown() -> None:
    found = names(parsed([row(f"s{i:02d}", 1, 1, 1, 1, 1, 1) for i in range(25)]))
    assert found == ["all", *(f"s{i:02d}" for i in range(23)), "2 more subsets"]


def test_labels_stand_in_segments_of_eight_percent_or_more() -> None:
    bar = bars(parsed([row("facts", 80, 79, 0, 0, 841, 0)]))[0]
    assert texts(bar) == ["facts", "8.0%", "84.1%", "1,000"]


def test_labels_stand_in_the_middle_of_their_segment() -> None:
    bar = bars(parsed([row("facts", 30, 0, 0, 0, 70, 0)]))[0]
    places = {
        one.text: float(str(one.get("x"))) for one in bar.iter(f"{SVG}text") if one.get("text-anchor") == "middle"
    }
    drawn = segments(bar)
    for text, kind in (("30.0%", "relabel"), ("70.0%", "keep")):
        start, width = drawn[kind]
        assert places[text] == pytest.approx(start + width / 2, abs=0.01)


def test_a_whole_bar_is_100_percent_and_almost_whole_is_not_called_so() -> None:
    assert "100%" in texts(bars(parsed([row("a", 0, 0, 0, 0, 9, 0)]))[0])
    assert "100%" not in texts(bars(parsed([row("a", 1, 0, 0, 0, 9999, 0)]))[0])


def test_zero_negatives_are_an_empty_bar() -> None:
    empty = bars(parsed(SIX))[3]
    assert texts(empty) == ["empty", "no negatives", "0"]
    assert segments(empty) == {}
    assert told(empty) == "empty: no negatives"


def test_nothing_but_empty_subsets() -> None:
    root = parsed([row("a", 0, 0, 0, 0, 0, 0), row("b", 0, 0, 0, 0, 0, 0)])
    assert [texts(bar)[1] for bar in bars(root)] == ["no negatives"] * 3


def test_a_hostile_name_is_only_text() -> None:
    picture = render_picture([row(HOSTILE, 1, 1, 1, 1, 1, 1), row("facts", 1, 1, 1, 1, 1, 1)], title=HOSTILE)
    root = ElementTree.fromstring(picture.encode("utf-8"))
    whole = "</svg><script>alert(1)</script>&\"'"
    assert names(root) == ["all", "</svg><script>alert(1)</scr…", "facts"]
    assert told(bars(root)[1]).startswith(f"{whole}: 6 negatives")
    assert root.findtext(f"{SVG}title") == whole
    assert {element.tag for element in root.iter()} == {
        SVG + tag for tag in ("svg", "title", "desc", "rect", "text", "g")
    }
    assert picture.count("</svg>") == 1
    # Quotes are escaped in text too, though only attributes need it: nothing then depends on where a name stands.
    assert picture.count("&quot;&apos;") == 3
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]", picture)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x00b\x1bc\x7fd\x9be", "abcde"),
        ("a\ud800b\udfffc", "abc"),
        ("a\ufffeb\uffffc", "abc"),
        ("\u202ea\u202ab\u2066c\u2069\u200fd\u061c", "abcd"),
        ("two\nlines\tand \x00 more", "two lines and more"),
        ("\x00\u202e", "(unprintable name)"),
        ("", "(all)"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("質量検索", "質量検索"),
        ("x" * 28, "x" * 28),
        ("x" * 29, "x" * 27 + "…"),
    ],
)
def test_names_as_shown(name: str, shown: str) -> None:
    assert names(parsed([row(name, 1, 1, 1, 1, 1, 1)])) == [shown]


def test_every_character_of_unicode_below_the_supplements_gives_valid_xml() -> None:
    for first in range(0, 0x10000, 0x1000):
        rows = [row("".join(map(chr, range(i, i + 16))), 1, 1, 1, 1, 1, 1) for i in range(first, first + 0x1000, 16)]
        for i in range(0, len(rows), 16):
            parsed(rows[i : i + 16])


def test_long_names_are_whole_up_to_200_characters() -> None:
    root = parsed([row("x" * 200, 1, 0, 0, 0, 0, 0), row("y" * 201, 1, 0, 0, 0, 0, 0)])
    assert told(bars(root)[1]).startswith("x" * 200 + ": ")
    assert told(bars(root)[2]).startswith("y" * 199 + "…: ")


@pytest.mark.parametrize("letter", ["W", "質", "i"])
def test_names_and_headline_have_room(letter: str) -> None:
    root = parsed([row(letter * 40, 1, 1, 1, 1, 1, 1_234_567_890)], title=letter * 500)
    label = bars(root)[0].find(f"{SVG}text")
    assert label is not None
    em = {"W": 0.989, "質": 1.0, "i": 0.278}[letter]  # advances in DejaVu Sans, one of the widest fonts in use
    assert float(str(label.get("x"))) >= 27 * em * 13
    headline = next(one for one in root.iter(f"{SVG}text"))
    assert headline.text is not None
    assert headline.text.endswith("…")
    assert 20 + len(headline.text) * em * 18 <= float(str(root.get("width")))


def test_everything_stands_inside() -> None:
    for rows in (SIX, THIRTY, SIX[:1], []):
        root = parsed(rows)
        width, height = float(str(root.get("width"))), float(str(root.get("height")))
        assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
        for rect in root.iter(f"{SVG}rect"):
            x, y = float(rect.get("x", "0")), float(rect.get("y", "0"))
            assert x + float(str(rect.get("width"))) <= width
            assert y + float(str(rect.get("height"))) <= height
        tops = [float(str(bar.findall(f"{SVG}rect")[0].get("y"))) for bar in bars(root)]
        assert all(below - above >= 24 for above, below in zip(tops, tops[1:], strict=False))


def test_same_rows_same_bytes() -> None:
    assert render_picture(SIX, title="t") == render_picture([dict(one) for one in SIX], title="t")
    assert render_picture(SIX, title="t") != render_picture(SIX, title="u")


def test_rows_are_left_as_they_were() -> None:
    rows = [dict(one) for one in THIRTY]
    render_picture(rows, title="t")
    assert rows == THIRTY


def test_numbers_have_two_decimals_at_most() -> None:
    for name, value in everything(parsed(SIX)):
        if name in ("x", "y", "width", "height"):
            assert re.fullmatch(r"\d+(\.\d{1,2})?", value), (name, value)


def test_nothing_runs_or_loads() -> None:
    address = "https://example.com/a.png url(https://example.com) @import 'x' onload=alert(1)"
    for name, value in everything(parsed([row(address, 1, 1, 1, 1, 1, 1), *SIX], title=address)):
        local = name.split("}")[-1].lower()
        assert local not in {
            "script",
            "style",
            "image",
            "use",
            "a",
            "foreignobject",
            "iframe",
            "href",
            "src",
            "animate",
        }
        assert not local.startswith("on")
        if local not in {"title", "desc", "text"}:
            assert "url(" not in value
            assert ":" not in value
            assert "@" not in value
    picture = render_picture(SIX, title="t")
    assert picture.count("://") == 1  # the namespace, a name that nobody fetches
    assert "<?" not in picture
    assert "<!" not in picture


def test_the_legend_names_every_colour() -> None:
    root = parsed([row("facts", 1, 1, 1, 1, 1, 1)])
    legend = next(group for group in root.iter(f"{SVG}g") if group.get("class") == "legend")
    words = ["relabeled as positives", "filtered", "duplicates removed", "undecided", "kept", "skipped"]
    assert texts(legend) == words
    squares = [rect.get("fill") for rect in legend.iter(f"{SVG}rect")]
    drawn = {rect.get("class"): rect.get("fill") for rect in bars(root)[0].iter(f"{SVG}rect")}
    assert squares == [drawn[kind] for kind in KINDS]
    assert len(set(squares)) == 6


def test_labels_and_words_can_be_read() -> None:
    root = parsed([row("facts", 1, 1, 1, 1, 1, 1), row("none", 0, 0, 0, 0, 0, 0)])
    background = next(rect for rect in root.iter(f"{SVG}rect"))
    assert (background.get("width"), background.get("height")) == (root.get("width"), root.get("height"))
    assert luminance(str(background.get("fill"))) > 0.9
    bar = bars(root)[1]
    colours = [str(rect.get("fill")) for rect in bar.iter(f"{SVG}rect") if rect.get("class") in KINDS]
    shares = [str(text.get("fill")) for text in bar.iter(f"{SVG}text") if text.get("class") == "share"]
    assert len(colours) == len(shares) == 6
    for colour, ink in zip(colours, shares, strict=True):
        assert contrast(colour, ink) >= 4.5, (colour, ink)
    for text in root.iter(f"{SVG}text"):
        if text.get("class") != "share":
            assert contrast(text.get("fill", str(root.get("fill"))), str(background.get("fill"))) >= 4.5


def test_screen_readers_hear_the_figures() -> None:
    root = parsed([row("facts", 3000, 0, 0, 0, 1000, 0), row("none", 0, 0, 0, 0, 0, 0)], title="Facts & more")
    assert root.get("role") == "img"
    by_id = {element.get("id"): element.text for element in root.iter() if element.get("id")}
    assert by_id[root.get("aria-labelledby")] == "Facts & more"
    figures = "4,000 negatives, 3,000 (75.0%) relabeled as positives, 1,000 (25.0%) kept"
    assert by_id[root.get("aria-describedby")] == f"all: {figures}. facts: {figures}. none: no negatives."
    assert told(bars(root)[1]) == f"facts: {figures}"


def test_one_negative_is_not_called_negatives() -> None:
    assert told(bars(parsed([row("a", 1, 0, 0, 0, 0, 0)]))[0]) == "a: 1 negative, 1 (100%) relabeled as positives"


def test_a_row_without_a_count_is_refused() -> None:
    incomplete = row("facts", 1, 2, 3, 4, 5, 6)
    del incomplete["undecided"]
    with pytest.raises(KeyError, match="undecided"):
        render_picture([incomplete], title="t")
