"""Writes what was charted as HL7 v2.5 ADT messages (chapter 3), with the quirks of its feed."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from ops.simulator.charts import Chart
from ops.simulator.people import Clinician, Person
from ops.simulator.scenario import DELIMITERS, Scenario

STRUCTURES = {  # table 0354
    "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A05": "ADT_A05",
    "A06": "ADT_A06", "A07": "ADT_A06", "A08": "ADT_A01", "A09": "ADT_A09", "A10": "ADT_A09",
    "A11": "ADT_A09", "A12": "ADT_A12", "A13": "ADT_A01", "A14": "ADT_A05", "A15": "ADT_A15",
    "A16": "ADT_A16", "A17": "ADT_A17", "A21": "ADT_A21", "A22": "ADT_A21", "A23": "ADT_A21",
    "A25": "ADT_A21", "A26": "ADT_A21", "A27": "ADT_A21", "A32": "ADT_A21", "A33": "ADT_A21",
    "A38": "ADT_A38", "A40": "ADT_A39", "A45": "ADT_A45", "A52": "ADT_A52", "A53": "ADT_A52",
}  # fmt: skip
PLAIN_TRIGGERS = frozenset({"A01", "A02", "A03", "A04", "A08", "A11", "A12", "A13"})
"""What a scenario sends whose shares are all 0."""
_DISCHARGE_PLANNED = frozenset({"A16", "A25"})  # their time is PV2-9, that of the others PV2-8
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})


def write(
    chart: Chart, persons: Mapping[str, Person], scenario: Scenario, control_id: str
) -> bytes:
    """One message in UTF-8; segments end with a carriage return. `persons` are by MRN."""
    text = "".join(f"{each}\r" for each in _segments(chart, persons, scenario, control_id))
    if scenario.quirks.delimiters != DELIMITERS:
        # Values hold none of either: HL7's are escaped, and the others occur in none.
        text = text.translate(str.maketrans(DELIMITERS, scenario.quirks.delimiters))
    return text.encode()


def stamp(at: datetime, scenario: Scenario) -> str:
    """An instant to the second; with its offset where the local time alone is ambiguous."""
    local = at.astimezone(scenario.zone)
    text = f"{local:%Y%m%d%H%M%S}"
    return f"{text}{local:%z}" if scenario.offsets or _occurs_twice(local) else text


def escaped(text: str) -> str:
    """A value with HL7's delimiters as escape sequences (section 2.7)."""
    return text.translate(_ESCAPES)


def _occurs_twice(local: datetime) -> bool:
    return local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()


def _segments(
    chart: Chart, persons: Mapping[str, Person], scenario: Scenario, control_id: str
) -> Iterator[str]:
    sent, recorded = (stamp(at, scenario) for at in (chart.sent_at, chart.recorded_at))
    occurred = stamp(chart.occurred_at, scenario) if chart.says_when else ""
    expected = stamp(chart.expected_at, scenario) if chart.expected_at else ""
    yield (
        f"MSH|^~\\&|{scenario.application}|{scenario.authority}|WARDTRAIL||{sent}||"
        f"ADT^{chart.trigger}^{STRUCTURES[chart.trigger]}|{control_id}|P|2.5||||||UNICODE UTF-8"
    )
    yield f"EVN|{chart.trigger}|{recorded}|{expected}|||{occurred}"
    yield _pid(chart, persons[chart.mrn], scenario)
    if chart.prior_mrn:
        yield _mrg(chart, scenario)
    if chart.visit_number:
        yield _pv1(chart, scenario)
    if expected or chart.places.abandoned:
        number = 9 if chart.trigger in _DISCHARGE_PLANNED else 8
        times = "|" * (number - 1) + expected if expected else ""
        yield f"PV2|{chart.places.abandoned}{times}"
    if chart.partner is not None:
        yield _pid(chart.partner, persons[chart.partner.mrn], scenario)
        yield _pv1(chart.partner, scenario)


def _pid(chart: Chart, person: Person, scenario: Scenario) -> str:
    identifiers = f"{person.mrn}^^^{scenario.authority}^MR"
    if person.national_id:
        identifiers += f"~{person.national_id}^^^NATIONAL^NI"
    name = f"{escaped(person.family)}^{escaped(person.given)}"
    address = f"{escaped(person.street)}^^{escaped(person.city)}"
    account = f"|||||{_visit(chart, scenario)}" if scenario.quirks.account else ""
    return (
        f"PID|1||{identifiers}||{name}||{person.born:%Y%m%d}|{person.sex}|||{address}"
        f"||{escaped(person.phone)}{account}"
    )


def _mrg(chart: Chart, scenario: Scenario) -> str:
    """MRG-1 is the MRN before; a visit that is moved is named in MRG-5, else MRG-3 (rule M5)."""
    prior = f"MRG|{chart.prior_mrn}^^^{scenario.authority}^MR"
    if not chart.visit_number:
        return prior
    return f"{prior}{'||' if scenario.quirks.account else '||||'}{_visit(chart, scenario)}"


def _pv1(chart: Chart, scenario: Scenario) -> str:
    assert chart.attending is not None, "a visit has somebody who attends"
    places = chart.places
    fields = [""] * 46
    fields[0] = "PV1"
    fields[1] = "1"
    fields[2] = chart.patient_class
    fields[3] = places.assigned
    fields[4] = "E" if chart.patient_class == "E" else "R"
    fields[6] = places.prior if scenario.quirks.prior else ""
    fields[7] = _xcn(chart.attending, scenario.authority)
    fields[10] = places.assigned.partition("^")[0]
    fields[11] = places.temporary
    fields[19] = "" if scenario.quirks.account else _visit(chart, scenario)
    fields[42] = places.pending
    fields[43] = places.prior_temporary
    fields[44] = stamp(chart.admitted_at, scenario) if chart.admitted_at else ""
    fields[45] = stamp(chart.discharged_at, scenario) if chart.discharged_at else ""
    return "|".join(fields).rstrip("|")


def _visit(chart: Chart, scenario: Scenario) -> str:
    if not chart.visit_number:
        return ""
    kind = "AN" if scenario.quirks.account else "VN"
    return f"{chart.visit_number}^^^{scenario.authority}^{kind}"


def _xcn(who: Clinician, authority: str) -> str:
    return f"{who.number}^{escaped(who.family)}^{escaped(who.given)}^^^Dr^^^{authority}"
