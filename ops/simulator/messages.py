"""Writes what was charted as HL7 v2.5 ADT messages (chapter 3), times in the scenario's zone."""

from datetime import datetime

from ops.simulator.hospital import Chart
from ops.simulator.people import Clinician, Person
from ops.simulator.scenario import Scenario

STRUCTURES = {  # table 0354
    "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01",
    "A08": "ADT_A01", "A11": "ADT_A09", "A12": "ADT_A12", "A13": "ADT_A01",
}  # fmt: skip
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})


def write(chart: Chart, person: Person, scenario: Scenario, control_id: str) -> bytes:
    """One message in UTF-8; segments end with a carriage return."""
    sent, recorded = (stamp(at, scenario) for at in (chart.sent_at, chart.recorded_at))
    occurred = stamp(chart.occurred_at, scenario) if chart.says_when else ""
    msh = (
        f"MSH|^~\\&|{scenario.application}|{scenario.authority}|WARDTRAIL||{sent}||"
        f"ADT^{chart.trigger}^{STRUCTURES[chart.trigger]}|{control_id}|P|2.5||||||UNICODE UTF-8"
    )
    evn = f"EVN|{chart.trigger}|{recorded}||||{occurred}"
    pid = _pid(person, scenario.authority)
    return f"{msh}\r{evn}\r{pid}\r{_pv1(chart, scenario)}\r".encode()


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


def _pid(person: Person, authority: str) -> str:
    identifiers = f"{person.mrn}^^^{authority}^MR"
    if person.national_id:
        identifiers += f"~{person.national_id}^^^NATIONAL^NI"
    name = f"{escaped(person.family)}^{escaped(person.given)}"
    address = f"{escaped(person.street)}^^{escaped(person.city)}"
    return (
        f"PID|1||{identifiers}||{name}||{person.born:%Y%m%d}|{person.sex}|||{address}"
        f"||{escaped(person.phone)}"
    )


def _pv1(chart: Chart, scenario: Scenario) -> str:
    fields = [""] * 46
    fields[0] = "PV1"
    fields[1] = "1"
    fields[2] = chart.patient_class
    fields[3] = chart.place
    fields[4] = "E" if chart.patient_class == "E" else "R"
    fields[6] = chart.prior
    fields[7] = _xcn(chart.attending, scenario.authority)
    fields[10] = chart.service
    fields[19] = f"{chart.visit_number}^^^{scenario.authority}^VN"
    fields[44] = stamp(chart.admitted_at, scenario)
    fields[45] = stamp(chart.discharged_at, scenario) if chart.discharged_at else ""
    return "|".join(fields).rstrip("|")


def _xcn(who: Clinician, authority: str) -> str:
    return f"{who.number}^{escaped(who.family)}^{escaped(who.given)}^^^Dr^^^{authority}"
