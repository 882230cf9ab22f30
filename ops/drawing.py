"""A visit's path drawn: lines of text for a terminal, or one SVG."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from xml.sax.saxutils import escape

from rich.cells import cell_len, chop_cells
from rich.text import Text

from ops.lanes import (
    AWAY,
    ELSEWHERE,
    PLAN,
    THERE,
    Lane,
    Picture,
    Scale,
    Segment,
    called,
    clock,
    moment,
    printable,
    ticks,
)

LABEL_CELLS_MAX = 40
WIDTH_MIN = 40  # columns; in a narrower terminal lines are broken
GLYPHS = {THERE: "\u2588", AWAY: "\u2592", ELSEWHERE: "\u2550", PLAN: "\u2508"}
INFERRED, LASTS, END = "\u2591", "\u25b6", "\u25a0"
ENDED = "discharged, or whereabouts unknown"
_STYLES = {THERE: "cyan", AWAY: "blue", ELSEWHERE: "magenta", PLAN: "dim"}
_LEGEND = (
    (THERE, GLYPHS[THERE], "in the bed"),
    (AWAY, GLYPHS[AWAY], "the bed is kept, the patient away"),
    (ELSEWHERE, GLYPHS[ELSEWHERE], "there without the bed"),
    (PLAN, GLYPHS[PLAN], "planned"),
    ("inferred", INFERRED, "bound inferred"),
    ("open", LASTS, "still so"),
)
_TICK_COLUMNS = 7  # a label is an hour, or a day and an hour where there is room


def lines(picture: Picture, *, width: int, zone: tzinfo = UTC) -> list[Text]:
    """The picture as lines of at most ``width`` columns: an axis, a lane a line, a legend.

    Everything it tells stands in the glyphs; colours only repeat it.
    """
    width = max(width, WIDTH_MIN)
    longest = max(cell_len(lane.label) for lane in picture.lanes)
    label = min(longest, LABEL_CELLS_MAX, width // 3)
    columns = width - label - 3  # two blanks before the chart, a mark after it
    scale = Scale(first=picture.first, last=picture.last, columns=columns)
    spanned = [Text(each) for each in textwrap.wrap(_spanned(picture, zone), width)]
    drawn = [*spanned, *_axis(picture, scale, label, zone)]
    for lane in picture.lanes:
        line = Text(_fitted(lane.label, label) + "  ")
        for glyph, style in _cells(picture, lane, scale):
            line.append(glyph, style)
        line.rstrip()
        drawn.append(line)
    if picture.left_out:
        drawn.append(Text(f"{picture.left_out} more places are not drawn"))
    said = [f"{glyph} {text}" for kind, glyph, text in _LEGEND if kind in picture.kinds]
    if picture.ended_at is not None:
        said.append(f"{END} {ENDED}")
    return [*drawn, *(Text(each, style="dim") for each in _wrapped(said, width))]


def _axis(picture: Picture, scale: Scale, label: int, zone: tzinfo) -> list[Text]:
    """The days and hours over a ruler."""
    marks = ticks(picture.first, picture.last, zone, most=max(2, scale.columns // _TICK_COLUMNS))
    said, ruler, day = "", ["\u2500"] * scale.columns, ""
    for mark in marks:
        column = min(scale.at(mark), scale.columns - 1)
        local = clock(mark, zone)
        if (local.hour, local.minute) == (0, 0):
            text = f"{local:%m-%d}"
        else:
            text = f"{local:%H:%M}" if f"{local:%Y-%m-%d}" == day else f"{local:%m-%d %H:%M}"
        ruler[column] = "\u252c"
        if column >= len(said) + bool(said) and column + len(text) <= scale.columns:
            said, day = said.ljust(column) + text, f"{local:%Y-%m-%d}"
    blank = " " * (label + 2)
    return [Text(blank + said, style="dim"), Text(blank + "".join(ruler), style="dim")]


def _cells(picture: Picture, lane: Lane, scale: Scale) -> list[tuple[str, str]]:
    """One glyph with its style for each column, and one for the mark after the last."""
    cells = [(" ", "")] * (scale.columns + 1)
    # Plans first, so that what was is drawn over what was meant.
    for segment in sorted(lane.segments, key=lambda segment: segment.kind != PLAN):
        start = min(scale.at(segment.start), scale.columns - 1)
        stop = max(scale.at(segment.end), start + 1)
        glyph, style = GLYPHS[segment.kind], _STYLES[segment.kind]
        cells[start:stop] = [(glyph, style)] * (stop - start)
        if segment.end_inferred:
            cells[stop - 1] = (INFERRED, style)
        if segment.start_inferred:
            cells[start] = (INFERRED, style)
        if segment.open:
            cells[stop] = (LASTS, style)
        elif picture.ends(segment):
            cells[stop] = (END, "")
    return cells


def _fitted(text: str, cells: int) -> str:
    """Cut or filled to so many cells."""
    if cell_len(text) > cells:
        text = chop_cells(text, cells - 1)[0] + "\u2026"
    return text + " " * (cells - cell_len(text))


def _wrapped(said: Sequence[str], width: int) -> list[str]:
    """The legend, several to a line as the width allows."""
    wrapped = [""]
    for each in said:
        longer = f"{wrapped[-1]}   {each}" if wrapped[-1] else each
        if cell_len(longer) > width and wrapped[-1]:
            wrapped.append(each)
        else:
            wrapped[-1] = longer
    return wrapped


# --- SVG -----------------------------------------------------------------------------------------

_WIDTH, _LEFT, _TOP, _ROW = 1000, 220, 80, 30
_RIGHT = _WIDTH - 24
_LABEL_CHARACTERS = 24
_TICKS = 8
# No custom properties: viewers other than browsers don't know them.
_CSS = """
text { fill: #1f2933; font: 13px ui-sans-serif, system-ui, sans-serif; }
.faint { fill: #616e7c; font-size: 11px; }
.paper { fill: #ffffff; }
.rule { stroke: #d9dee4; }
.there { fill: #0b7285; }
.away { fill: #0b7285; fill-opacity: .18; stroke: #0b7285; }
.elsewhere { fill: #a61e8c; }
.planned { fill: none; stroke: #7b8794; stroke-dasharray: 2 3; }
.inferred { stroke: #1f2933; stroke-width: 2; stroke-dasharray: 3 3; }
.mark { fill: #1f2933; }
@media (prefers-color-scheme: dark) {
  text, .mark { fill: #e4e9ee; }
  .faint { fill: #9aa5b1; }
  .paper { fill: #14191f; }
  .rule { stroke: #3a444f; }
  .there { fill: #3bc9db; }
  .away { fill: #3bc9db; stroke: #3bc9db; }
  .elsewhere { fill: #f06bd8; }
  .inferred { stroke: #e4e9ee; }
}
"""
_HEIGHTS = {THERE: 16, AWAY: 16, ELSEWHERE: 8, PLAN: 16}
_SAID = {
    THERE: "in the bed",
    AWAY: "the bed is kept, the patient away",
    ELSEWHERE: "there without the bed",
    PLAN: "planned",
}


def svg(picture: Picture | None, *, title: str, zone: tzinfo = UTC) -> str:
    """The picture as a document that refers to nothing outside itself and runs nothing.

    ``title`` is read aloud; it and the places' texts are escaped. Without a picture it says that
    there are no stays.
    """
    lanes = picture.lanes if picture else ()
    height = _TOP + _ROW * max(1, len(lanes)) + 44
    body = _drawing(picture, zone) if picture else [_text(16, _TOP + 20, "no stays", "faint")]
    said = _label(title)
    described = _described(picture, zone)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{said}">',
            f"<title>{said}</title>",
            f"<desc>{described}</desc>",
            f"<style>{_CSS}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
            _text(16, 24, title),
            *body,
            "</svg>",
            "",
        )
    )


def _drawing(picture: Picture, zone: tzinfo) -> Iterator[str]:
    scale = Scale(first=picture.first, last=picture.last, columns=_RIGHT - _LEFT)
    bottom = _TOP + _ROW * len(picture.lanes)
    yield _text(16, 42, _spanned(picture, zone), "faint")
    for mark in ticks(picture.first, picture.last, zone, most=_TICKS):
        x = _LEFT + scale.at(mark)
        yield f'<line class="rule" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{bottom}"/>'
        if x + 74 <= _RIGHT:
            yield _text(x + 3, _TOP - 10, f"{clock(mark, zone):%m-%d %H:%M}", "faint")
    for row, lane in enumerate(picture.lanes):
        y = _TOP + row * _ROW
        yield f'<line class="rule" x1="16" x2="{_RIGHT}" y1="{y + _ROW}" y2="{y + _ROW}"/>'
        short = lane.label
        if len(short) > _LABEL_CHARACTERS:
            short = short[: _LABEL_CHARACTERS - 1] + "\u2026"
        yield _text(16, y + 20, short)
        for segment in sorted(lane.segments, key=lambda segment: segment.kind != PLAN):
            yield from _bar(picture, lane, segment, scale, y + _ROW // 2, zone)
    legend = [said for kind, said in _SAID.items() if kind in picture.kinds]
    x = 16
    for kind, said in _SAID.items():
        if kind in picture.kinds:
            yield f'<rect class="{kind}" x="{x}" y="{bottom + 18}" width="18" height="8"/>'
            yield _text(x + 24, bottom + 26, said, "faint")
            x += 40 + 6 * len(said)
    assert legend, "a lane has a segment"
    if "inferred" in picture.kinds:
        yield _rule("inferred", x + 8, bottom + 16, bottom + 30)
        yield _text(x + 16, bottom + 26, "bound inferred", "faint")
        x += 112
    if picture.left_out:
        yield _text(x, bottom + 26, f"{picture.left_out} more places are not drawn", "faint")


def _bar(
    picture: Picture, lane: Lane, segment: Segment, scale: Scale, middle: int, zone: tzinfo
) -> Iterator[str]:
    """A segment as a rectangle that tells what it is, with its bounds' marks."""
    start, stop = _LEFT + scale.at(segment.start), _LEFT + scale.at(segment.end)
    high = _HEIGHTS[segment.kind]
    top = middle - high // 2
    until = "still so" if segment.open else moment(segment.end, zone)
    told = (
        f"{lane.label}: {_SAID[segment.kind]}, "
        f"{'about ' if segment.start_inferred else ''}{moment(segment.start, zone)} to "
        f"{'about ' if segment.end_inferred else ''}{until}"
    )
    yield (
        f'<rect class="{segment.kind}" x="{start}" y="{top}" width="{max(2, stop - start)}" '
        f'height="{high}"><title>{_label(told)}</title></rect>'
    )
    if segment.start_inferred:
        yield _rule("inferred", start, middle - 12, middle + 12)
    if segment.end_inferred:
        yield _rule("inferred", stop, middle - 12, middle + 12)
    if segment.open:
        yield f'<path class="{segment.kind}" d="M{stop} {middle - 8}l10 8l-10 8z"/>'
    elif picture.ends(segment):
        yield (
            f'<rect class="mark" x="{stop}" y="{middle - 12}" width="5" height="24">'
            f"<title>{ENDED} {moment(segment.end, zone)}</title></rect>"
        )


def _described(picture: Picture | None, zone: tzinfo) -> str:
    """The path in words, for who can't see it."""
    if picture is None:
        return "no stays"
    places = ", then ".join(lane.label for lane in picture.lanes)
    said = f"{_spanned(picture, zone)}. Places in order of the first stay: {places}."
    return escape(said)


def _spanned(picture: Picture, zone: tzinfo) -> str:
    """From when to when, by whose clock, and the end if there is one."""
    said = f"{moment(picture.first, zone)} to {moment(picture.last, zone)} ({called(zone)})"
    if picture.ended_at is not None:
        said += f"; ended {moment(picture.ended_at, zone)}"
    return said


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{named}>{_label(text)}</text>'


def _rule(kind: str, x: int, top: int, bottom: int) -> str:
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'


def _label(text: str) -> str:
    """Text for an element or an attribute."""
    return escape(printable(text), {'"': "&quot;", "'": "&apos;"})
