"""A path as lanes of text and as SVG: what is told, in which width, and nothing that runs."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ops import drawing, lanes
from ops.drawing import END, GLYPHS, INFERRED, LASTS, WIDTH_MIN, lines, svg
from ops.lanes import AWAY, ELSEWHERE, LANES_MAX, PLAN, THERE, Picture, ticks

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = START + 60 * HOUR
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    location: str
    effective_at: datetime
    ended_at: datetime | None
    track: str = "census"
    start_inferred: bool = False
    end_inferred: bool = False


def stay(location: str, start: float, end: float | None, **more: object) -> Stay:
    until = None if end is None else START + end * HOUR
    return Stay(location=location, effective_at=START + start * HOUR, ended_at=until, **more)


def both(location: str, start: float, end: float | None, **more: object) -> list[Stay]:
    return [stay(location, start, end, track=track, **more) for track in ("census", "physical")]


def away() -> list[Stay]:
    """In bed A, from 10 to 14 physically in X-ray, discharged after 30 hours."""
    return [
        stay("W^1^A", 0, 30), stay("W^1^A", 0, 10, track="physical"),
        stay("XRAY", 10, 14, track="physical"), stay("W^1^A", 14, 30, track="physical"),
    ]  # fmt: skip


def picture(stays: list[Stay], now: datetime = NOW) -> Picture:
    made = Picture.of(stays, now=now)
    assert made is not None
    return made


def plain(stays: list[Stay], width: int = 80, **more: object) -> list[str]:
    return [line.plain for line in lines(picture(stays), width=width, **more)]


def lane(stays: list[Stay], label: str, width: int = 80) -> str:
    (found,) = [line for line in plain(stays, width) if line.startswith(f"{label} ")]
    return found.removeprefix(label).strip()


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


def test_there_is_a_lane_for_each_place_in_order_of_the_first_visit() -> None:
    path = [*both("ED", 0, 2), *both("ICU", 2, 9), *both("ED", 9, 12), *both("W", 12, None)]
    assert [lane.label for lane in picture(path).lanes] == ["ED", "ICU", "W"]
    assert [lane.label for lane in picture(path[::-1]).lanes] == ["ED", "ICU", "W"]


def test_a_place_that_was_only_planned_comes_last_and_is_no_visit() -> None:
    path = [stay("REHAB", -2, 20, track="planned"), *both("ED", 0, 2)]
    assert [lane.label for lane in picture(path).lanes] == ["ED", "REHAB"]
    assert picture(path).ended_at == START + 2 * HOUR
    assert set(lane(path, "REHAB")) == {GLYPHS[PLAN]}


def test_a_bed_that_is_kept_while_the_patient_is_away_is_drawn_otherwise() -> None:
    bed, xray = picture(away()).lanes
    kinds = [(s.kind, s.start - START, s.end - START) for s in bed.segments]
    assert kinds == [
        (THERE, 0 * HOUR, 10 * HOUR), (AWAY, 10 * HOUR, 14 * HOUR), (THERE, 14 * HOUR, 30 * HOUR),
    ]  # fmt: skip
    assert [segment.kind for segment in xray.segments] == [ELSEWHERE]
    drawn = lane(away(), "W^1^A")
    assert re.fullmatch(f"{GLYPHS[THERE]}+{GLYPHS[AWAY]}+{GLYPHS[THERE]}+{END}", drawn)
    assert set(lane(away(), "XRAY")) == {GLYPHS[ELSEWHERE]}


def test_where_the_physical_track_was_not_asked_for_nobody_is_said_to_be_away() -> None:
    made = Picture.of([stay("W", 0, 5)], now=NOW, tracked=False)
    assert made is not None
    assert made.kinds == {THERE}


def test_a_patient_who_is_away_from_the_first_instant_on_is_never_in_bed() -> None:
    path = [stay("W", 0, 5), stay("W^2", 5, None)]
    assert picture(path).kinds == {AWAY, "open"}
    assert set(lane(path, "W")) == {GLYPHS[AWAY]}
    assert "the bed is kept, the patient away" in "".join(plain(path))


def test_a_patient_on_leave_is_away_and_nowhere_else() -> None:
    path = [stay("W", 0, None), stay("W", 0, 10, track="physical")]
    assert [segment.kind for segment in picture(path).lanes[0].segments] == [THERE, AWAY]
    assert lane(path, "W").endswith(GLYPHS[AWAY] + LASTS)


def test_inferred_bounds_are_lighter() -> None:
    path = [*both("ED", 0, 20, start_inferred=True), *both("W", 20, 40, end_inferred=True)]
    assert lane(path, "ED").startswith(INFERRED + GLYPHS[THERE])
    assert lane(path, "W").endswith(GLYPHS[THERE] + INFERRED + END)
    assert any("bound inferred" in line for line in plain(path))


def test_a_stay_that_lasts_has_an_arrow_and_a_discharge_a_mark() -> None:
    lasting = both("ED", 0, None)
    assert lane(lasting, "ED").endswith(LASTS)
    assert END not in "".join(plain(lasting))
    ended = plain(both("ED", 0, 5))
    assert ended[0] == "2026-03-02 08:00 to 2026-03-02 13:00 (UTC); ended 2026-03-02 13:00"
    assert ended[3].endswith(END)
    assert ended[4].endswith(f"{END} discharged, or whereabouts unknown")


def test_the_legend_has_what_is_drawn_and_nothing_else() -> None:
    assert "away" not in "".join(plain(both("ED", 0, 5)))
    assert "the bed is kept, the patient away" in "".join(plain(away()))


@pytest.mark.parametrize("width", [WIDTH_MIN, 57, 80, 133, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    path = [*away(), *both("\u6f22\u5b57" * 40, 30, 31), stay("R" * 300, 0, 9, track="planned")]
    drawn = lines(picture(path), width=width, zone=ZoneInfo("America/Argentina/ComodRivadavia"))
    assert max(cell_len(line.plain) for line in drawn) <= width


def test_the_same_path_and_instant_give_the_same_picture() -> None:
    assert plain(away()) == plain(away()[::-1])
    assert svg(picture(away()), title="a") == svg(picture(away()[::-1]), title="a")


def test_the_picture_is_readable_without_colour() -> None:
    glyphs = [*GLYPHS.values(), INFERRED, LASTS, END]
    assert len(set(glyphs)) == len(glyphs)


def test_two_texts_of_one_place_share_a_lane() -> None:
    path = [*both("W^1^A^F", 0, 3), *both("W^1^A^F^occupied", 3, 6)]
    assert len(picture(path).lanes) == 1


def test_a_place_without_a_text_is_told_as_unknown() -> None:
    assert picture(both("", 0, 1)).lanes[0].label == lanes.UNKNOWN


def test_no_stays_make_no_picture() -> None:
    assert Picture.of([], now=NOW) is None
    assert "no stays" in svg(None, title="admission 1")


def test_a_stay_that_begins_later_than_now_is_drawn() -> None:
    made = picture(both("ED", 0, None), now=START - HOUR)
    assert [segment.open for segment in made.lanes[0].segments] == [True]


def test_more_lanes_than_fit_are_counted() -> None:
    path = [each for n in range(LANES_MAX + 2) for each in both(f"W{n}", n, n + 1)]
    assert len(picture(path).lanes) == LANES_MAX
    assert "2 more places are not drawn" in plain(path)
    assert "2 more places are not drawn" in svg(picture(path), title="a")
    assert picture(path[: 2 * LANES_MAX]).left_out == 0


@pytest.mark.parametrize(
    ("span", "steps"),
    [(HOUR / 60, {HOUR / 60}), (5 * HOUR, {HOUR}), (40 * HOUR, {6 * HOUR}),
     (9000 * HOUR, {28 * 24 * HOUR * n for n in (1, 2)}), (10_000_000 * HOUR, None)],
)  # fmt: skip
def test_ticks_are_round_and_not_too_many(span: timedelta, steps: set[timedelta] | None) -> None:
    found = ticks(START, START + span, UTC, most=8)
    assert 1 <= len(found) <= 8
    apart = {after - before for before, after in pairwise(found)}
    assert steps is None or apart <= steps


def test_ticks_are_the_clocks_own_when_it_is_changed() -> None:
    zone = ZoneInfo("Europe/London")
    first = datetime(2026, 3, 28, 20, tzinfo=UTC)  # the clock goes forward in the night
    found = ticks(first, first + 16 * HOUR, zone, most=8)
    assert [f"{at.astimezone(zone):%H}" for at in found] == ["21", "00", "03", "06", "09", "12"]


def test_a_stay_at_the_end_of_the_calendar_is_drawn() -> None:
    far = Stay(location="W", effective_at=START, ended_at=datetime.max.replace(tzinfo=UTC))
    assert lines(picture([far]), width=80, zone=ZoneInfo("Asia/Tokyo"))
    assert parsed(svg(picture([far]), title="a", zone=ZoneInfo("Asia/Tokyo"))) is not None


@st.composite
def paths(draw: st.DrawFn) -> list[Stay]:
    """Any stays: overlapping, contradicting, of any length and text."""
    instants = st.datetimes(timezones=st.just(UTC))
    stays = []
    for _ in range(draw(st.integers(1, 8))):
        start, end = sorted((draw(instants), draw(instants)))
        stays.append(
            Stay(
                location=draw(st.sampled_from(["ED", "ED^1", "", "W^2^B"]) | st.text(max_size=30)),
                effective_at=start,
                ended_at=draw(st.sampled_from([end, None])) if start < end else None,
                track=draw(st.sampled_from(["census", "physical", "planned"])),
                start_inferred=draw(st.booleans()),
                end_inferred=draw(st.booleans()),
            )
        )
    return stays


@settings(deadline=None, max_examples=200)
@given(stays=paths(), now=st.datetimes(timezones=st.just(UTC)), width=st.integers(1, 200))
def test_any_stays_are_drawn(stays: list[Stay], now: datetime, width: int) -> None:
    made = picture(stays, now)
    for each in made.lanes:
        been = [segment for segment in each.segments if segment.kind != PLAN]
        assert all(made.first <= s.start < s.end <= made.last for s in been)
        assert all(before.end <= after.start for before, after in pairwise(been))
    zone = ZoneInfo("America/New_York")
    drawn = lines(made, width=width, zone=zone)
    assert max(cell_len(line.plain) for line in drawn) <= max(width, WIDTH_MIN)
    assert not any(unicodedata.category(each) == "Cc" for line in drawn for each in line.plain)
    parsed(svg(made, title=stays[0].location, zone=zone))


HOSTILE = "<script>alert('x')</script>\x1b[31m\x00\u202e&amp;\"]]>\ud800\ufffe\u2066"


def test_a_hostile_place_is_neither_obeyed_nor_parsed() -> None:
    text = svg(picture(both(HOSTILE, 0, 1)), title=f"admission {HOSTILE}")
    tree = parsed(text)
    assert "<script" not in text
    assert all(bad not in text for bad in "\x1b\x00\u202e\ufffe\u2066")
    assert "script" not in {each.tag.removeprefix(SVG) for each in tree.iter()}
    titles = [each.text or "" for each in tree.iter(f"{SVG}title")]
    assert any("<script>alert('x')</script>" in title for title in titles)  # as text
    drawn = "\n".join(plain(both(HOSTILE, 0, 1), width=200))
    assert all(bad not in drawn for bad in "\x1b\x00\u202e")


def test_the_svg_refers_to_nothing_outside_itself() -> None:
    text = svg(picture(away()), title="admission 1")
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    for outside in ("href", "url(", "@import", "<image", "<use", "foreignObject", "<!"):
        assert outside not in text
    assert not re.search(r"\son\w+=", text)


def test_the_svg_can_be_read_aloud_and_in_the_dark() -> None:
    root = parsed(svg(picture(away()), title="admission 1"))
    assert (root.get("role"), root.get("aria-label")) == ("img", "admission 1")
    assert root.findtext(f"{SVG}title") == "admission 1"
    assert "W^1^A, then XRAY" in (root.findtext(f"{SVG}desc") or "")
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")


def test_the_svg_draws_each_segment_with_its_bounds() -> None:
    path = [*away()[:3], *both("W^2", 30, None, start_inferred=True)]
    root = parsed(svg(picture(path), title="a"))
    classes = [each.get("class") for each in root.iter()]
    for kind in (THERE, AWAY, ELSEWHERE, "inferred"):
        assert kind in classes
    told = [each.findtext(f"{SVG}title") or "" for each in root.iter(f"{SVG}rect")]
    assert "W^2: in the bed, about 2026-03-03 14:00 to still so" in told
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.get("x", 0)) + float(bar.get("width", 0)) <= drawing._WIDTH


def test_the_svg_shows_the_zones_clock() -> None:
    text = svg(picture(both("ED", 0, 5)), title="a", zone=ZoneInfo("Asia/Tokyo"))
    assert "2026-03-02 17:00 to 2026-03-02 22:00 (Asia/Tokyo)" in text
    assert "<title>discharged, or whereabouts unknown 2026-03-02 22:00</title>" in text


def test_a_place_of_many_stays_is_laid_out_in_time() -> None:
    path = [each for n in range(5_000) for each in both("W", 2 * n, 2 * n + 1)]
    assert len(picture(path).lanes[0].segments) == 5_000
