"""What happened to the hard negatives, as a picture that stands beside the card.

A table of counts hides that one subset lost half of its negatives and another none; bars of shares show it at a glance.
It is plain SVG, written by hand: no plotting library is needed, the same counts give the same bytes, and nothing in it
runs or loads. Subset names are data of strangers and reach the file only through `_clean` and `_escaped`.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any, NamedTuple
from xml.sax.saxutils import escape


class _Kind(NamedTuple):
    """A segment of a bar: the count's key in a row, the word for it, its colour and the colour of the label on it."""

    key: str
    words: str
    colour: str
    ink: str


_DARK, _LIGHT, _GREY, _LINE = "#1a1a1a", "#ffffff", "#595959", "#8c8c8c"
# Okabe and Ito's palette, told apart with every common colour vision; each label has a contrast of 4.5 : 1 or more.
_KINDS = (
    _Kind("relabel", "relabeled as positives", "#009e73", _DARK),
    _Kind("filter", "filtered", "#e69f00", _DARK),
    _Kind("duplicate", "duplicates removed", "#cc79a7", _DARK),
    _Kind("undecided", "undecided", "#f0e442", _DARK),
    _Kind("keep", "kept", "#0072b2", _LIGHT),
    _Kind("skipped", "skipped", "#c4c4c4", _DARK),
)
_MOST_BARS = 24
_SHORT, _LONG = 28, 200
_LABELED_FROM = 8  # percent: a narrower segment has no room for its label

# Pixels. The columns of names and counts grow with their text; the bars do not, so that pictures can be compared.
_MARGIN, _GAP, _BAR_WIDTH, _BAR_HEIGHT, _PITCH = 20, 10, 600, 22, 30
_TITLE_SIZE, _SIZE, _SMALL = 18, 13, 12
_LEGEND_COLUMNS, _LEGEND_TOP, _LEGEND_PITCH = 3, 54, 22
_HEAD_Y = 118
_BARS_TOP = _HEAD_Y + 10
_BOLD, _ITALIC = 'font-weight="bold"', 'font-style="italic"'
_AFTER_ALL = 8  # sets the bar of everything apart from those of the subsets

_JOINERS = "\u200c\u200d"  # Persian, the scripts of India and emoji are misspelt without them
_NARROW, _BROAD = frozenset(" iljtfrI.,:;'|!()[]-"), frozenset("mwMW@%&+=<>~#…—_")


class _Bar(NamedTuple):
    """One bar: its whole name, its negatives, their counts in the order of `_KINDS`; `style` marks a sum of others."""

    name: str
    negatives: int
    counts: tuple[int, ...]
    style: str = ""


def render_picture(rows: list[dict[str, Any]], *, title: str) -> str:
    """A standalone SVG of what became of the negatives: one bar of shares per subset, and one of all on top of several.

    `rows` are those of `Summary.before_after()`; of each are used `subset`, `negatives` and the counts `relabel`,
    `filter`, `duplicate`, `undecided`, `keep` and `skipped`, which add up to `negatives`. They stand in the order
    given; of more than 24, the 23 with the most negatives have a bar each and the others share one. `title` is the
    headline and may hold data, as may subset names. The text is valid XML and encodes as UTF-8. Raises `KeyError` for
    a row without one of the counts.
    """
    bars = _bars(rows)
    labels = [_shortened(bar.name, _SHORT) for bar in bars]
    names_width = max(
        _text_width(label, _SIZE, bold=bar.style == _BOLD) for label, bar in zip(labels, bars, strict=True)
    )
    counts_width = max(
        _text_width(text, _SIZE, bold=True) for text in ["negatives", *(f"{b.negatives:,}" for b in bars)]
    )
    left = _MARGIN + names_width + _GAP
    right = left + _BAR_WIDTH + _GAP + counts_width
    width = right + _MARGIN
    tops = [_BARS_TOP + i * _PITCH + (_AFTER_ALL if i and len(bars) > 1 else 0) for i in range(len(bars))]
    height = tops[-1] + _BAR_HEIGHT + _MARGIN
    headline = _fitted(_clean(title), right - _MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="picture-title" aria-describedby="picture-figures" '
        f'font-family="sans-serif" font-size="{_SIZE}" fill="{_DARK}">',
        f'<title id="picture-title">{_escaped(_shortened(_clean(title), _LONG))}</title>',
        f'<desc id="picture-figures">{_escaped(_described(bars, labels))}</desc>',
        f'<rect class="background" width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_MARGIN, 32, headline, f'font-size="{_TITLE_SIZE}" font-weight="bold"'),
        *_legend(left),
        _text(left, _HEAD_Y, "share of the hard negatives", f'font-size="{_SMALL}" fill="{_GREY}"'),
        _text(right, _HEAD_Y, "negatives", f'font-size="{_SMALL}" fill="{_GREY}" text-anchor="end"'),
    ]
    for bar, label, top in zip(bars, labels, tops, strict=True):
        parts += _drawn(bar, label, left, top, right)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(rows: list[dict[str, Any]]) -> list[_Bar]:
    """The bars from top to bottom; without rows, one that is empty."""
    bars = [_Bar(_name(row["subset"]), row["negatives"], tuple(row[kind.key] for kind in _KINDS)) for row in rows]
    if not bars:
        return [_Bar(_name(None), 0, (0,) * len(_KINDS))]
    if len(bars) == 1:
        return bars
    total = _sum(bars, "all", _BOLD)
    if len(bars) > _MOST_BARS:
        largest = sorted(range(len(bars)), key=lambda i: (-bars[i].negatives, i))[: _MOST_BARS - 1]
        others = [bar for i, bar in enumerate(bars) if i not in largest]
        bars = [*(bars[i] for i in sorted(largest)), _sum(others, f"{len(others):,} more subsets", _ITALIC)]
    return [total, *bars]


def _sum(bars: list[_Bar], name: str, style: str) -> _Bar:
    counts = zip(*(bar.counts for bar in bars), strict=True)
    return _Bar(name, sum(bar.negatives for bar in bars), tuple(sum(column) for column in counts), style)


def _drawn(bar: _Bar, label: str, left: int, top: int, right: int) -> list[str]:
    """The elements of one bar: name, segments with their labels, count."""
    baseline = top + 16
    parts = [
        f'<g class="bar"><title>{_escaped(f"{_shortened(bar.name, _LONG)}: {_figures(bar)}")}</title>',
        _text(left - _GAP, baseline, label, f'text-anchor="end" {bar.style}'.rstrip()),
    ]
    if bar.negatives == 0:
        parts.append(
            f'<rect class="empty" x="{left}" y="{top}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" '
            f'fill="#ffffff" stroke="{_LINE}"/>'
        )
        parts.append(_text(left + _GAP, baseline, "no negatives", f'font-size="{_SMALL}" fill="{_GREY}"'))
    else:
        parts += _segments(bar, left, top, baseline)
    parts += [_text(right, baseline, f"{bar.negatives:,}", f'text-anchor="end" {bar.style}'.rstrip()), "</g>"]
    return parts


def _segments(bar: _Bar, left: int, top: int, baseline: int) -> list[str]:
    """Coloured rectangles side by side, each edge rounded once, so that no rounding adds up along the bar."""
    shapes, labels = [], []
    passed, start = 0, float(left)
    for kind, count in zip(_KINDS, bar.counts, strict=True):
        passed += count
        end = round(left + _BAR_WIDTH * passed / bar.negatives, 2)
        if end > start:
            shapes.append(
                f'<rect class="{kind.key}" x="{_number(start)}" y="{top}" width="{_number(end - start)}" '
                f'height="{_BAR_HEIGHT}" fill="{kind.colour}"/>'
            )
        if 100 * count >= _LABELED_FROM * bar.negatives:
            style = f'class="share" font-size="{_SMALL}" text-anchor="middle" fill="{kind.ink}"'
            labels.append(_text((start + end) / 2, baseline, _percent(count, bar.negatives), style))
        start = end
    return shapes + labels


def _legend(left: int) -> list[str]:
    """A square and its words for every kind of segment, in reading order."""
    parts = ['<g class="legend">']
    for i, kind in enumerate(_KINDS):
        x = left + i % _LEGEND_COLUMNS * (_BAR_WIDTH // _LEGEND_COLUMNS)
        y = _LEGEND_TOP + i // _LEGEND_COLUMNS * _LEGEND_PITCH
        parts.append(
            f'<rect x="{x}" y="{y}" width="13" height="13" fill="{kind.colour}" stroke="{_LINE}" stroke-width="0.5"/>'
        )
        parts.append(_text(x + 20, y + 11, kind.words))
    return [*parts, "</g>"]


def _described(bars: list[_Bar], labels: list[str]) -> str:
    """The figures in words, for those who cannot see the picture."""
    return " ".join(f"{label}: {_figures(bar)}." for label, bar in zip(labels, bars, strict=True))


def _figures(bar: _Bar) -> str:
    if bar.negatives == 0:
        return "no negatives"
    shares = [
        f"{count:,} ({_percent(count, bar.negatives)}) {kind.words}"
        for kind, count in zip(_KINDS, bar.counts, strict=True)
        if count
    ]
    noun = "negative" if bar.negatives == 1 else "negatives"
    return ", ".join([f"{bar.negatives:,} {noun}", *shares])


def _percent(count: int, of: int) -> str:
    return "100%" if count == of else f"{100 * count / of:.1f}%"


def _name(subset: str | None) -> str:
    """A subset's whole name, fit to show; a name of nothing that shows is said to be one."""
    return (_clean(subset) or "(unprintable name)") if subset else "(all)"


def _clean(text: str) -> str:
    """Text on one line, without what XML 1.0 forbids (it cannot even be escaped) and what would turn the text around.

    Those are control characters, surrogates and U+FFFE and U+FFFF; invisible format characters go too, bidirectional
    overrides among them, and only the joiners stay.
    """
    return " ".join("".join(filter(_shows, text)).split())


def _shows(c: str) -> bool:
    if c.isspace() or c in _JOINERS:  # `_clean` makes every kind of space, line breaks among them, a plain one
        return True
    return unicodedata.category(c) not in ("Cc", "Cf", "Cs") and c not in "\ufffe\uffff"


def _escaped(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&apos;"})


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _fitted(text: str, width: int) -> str:
    """A headline, shortened until it fits."""
    short = _shortened(text, _LONG)
    while _text_width(short, _TITLE_SIZE, bold=True) > width:
        short = _shortened(short, len(short) - 1)
    return short


def _text_width(text: str, size: int, *, bold: bool = False) -> int:
    """Pixels that a text takes at most in the usual fonts: SVG has no layout, and the reader's font is not known."""
    return math.ceil(size * (1.15 if bold else 1) * sum(map(_ems, text)))


def _ems(c: str) -> float:
    if unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    if unicodedata.east_asian_width(c) in ("W", "F"):
        return 1.05
    if c in _NARROW:
        return 0.42
    if c in _BROAD:
        return 1
    return 0.66 if c.isascii() and not c.isupper() else 0.8


def _text(x: float, y: float, text: str, style: str = "") -> str:
    attributes = f'x="{_number(x)}" y="{_number(y)}" {style}'.rstrip()
    return f"<text {attributes}>{_escaped(text)}</text>"


def _number(value: float) -> str:
    """At most two decimals, and none that are zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
