"""Messages of one made-up day: who is told of, what was done, and when that was said."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count

from ops.simulator import people
from schemas.clock import micros
from schemas.identity import Identifier
from streams.ledger.mapping.facts import Claim, Draft, Facts, Part, StreamName
from streams.ledger.mapping.times import Moment

DAY = datetime(2026, 3, 2, tzinfo=UTC)
AUTHORITY = "ZONE"
PEOPLE = [people.mrn(number) for number in range(64)]  # nothing but ciphertext may show them
TEMPERATURE = "8310-5^Reading^LN"
DRUG = "0093-0058-01^Drug^NDC"
VACCINE = "115^Tdap^CVX"
_NUMBERS = count(1)


def at(clock: str) -> datetime:
    """The instant of a time of the day, such as 10:05; or of a later day, such as +1 10:05."""
    day, _, time = clock.rpartition(" ")
    hours, minutes = time.split(":")
    return DAY + timedelta(days=int(day or 0), hours=int(hours), minutes=int(minutes))


def iso(clock: str) -> str:
    """The instant as commands take it."""
    return at(clock).isoformat()


def adt(
    trigger: str, patient: str, clock: str, *, visit: str = "", merges: str = "",
    merges_visit: str = "",
) -> bytes:  # fmt: skip
    """A message about a patient, perhaps of a visit; ``merges`` is whom MRG names."""
    said = _time(clock)
    segments = [f"EVN|{trigger}|{said}||||{said}", _pid(patient)]
    if merges:
        fields = {1: _cx(merges, "MR"), 5: merges_visit and _cx(merges_visit, "VN")}
        segments.append(f"PID|2||{fields[1]}" if trigger == "A37" else _segment("MRG", fields))
    if visit:
        segments.append(_pv1(visit))
    return _message(f"ADT^{trigger}", clock, *segments)


def oru(
    patient: str, number: str, performed: str, *, reported: str = "", state: str = "F",
    code: str = TEMPERATURE, value: str = "37.2", unit: str = "Cel", visit: str = "",
    order: str = "",
) -> bytes:  # fmt: skip
    """A result; ``number`` is the filler's, by which it is corrected, ``order`` the placer's."""
    placer = order and f"{order}^CPOE"
    segments = [
        f"OBR|1|{placer}|{number}^LAB|{code}|||{_time(performed)}",
        f"OBX|1|NM|{code}||{value}|{unit}|||||{state}|||{_time(performed)}",
    ]
    return _told("ORU^R01^ORU_R01", patient, reported or performed, segments, visit)


def ras(patient: str, number: str, performed: str, **given: str) -> bytes:
    """An administration, by its completion (RXA-20) and action (RXA-21)."""
    return _given("RAS^O17^RAS_O17", DRUG, patient, number, performed, **given)


def vxu(patient: str, number: str, performed: str, **given: str) -> bytes:
    """An immunization, likewise."""
    return _given("VXU^V04^VXU_V04", VACCINE, patient, number, performed, **given)


def fhir(
    patient: str, name: str, performed: str, *, state: str, version: str | None = None,
    reported: str = "",
) -> Facts:  # fmt: skip
    """What a MedicationAdministration says, as the mapping of FHIR will say it."""
    data = {
        "trigger": "MedicationAdministration", "reported_at": micros(at(reported or performed)),
        "version": version, "kind": "administration", "state": state, "raw_state": None,
        "state_field": "status", "codes": [{"system": "NDC", "code": "00093005801"}],
        "value_number": None, "value_unit": None, "value_comparator": None, "value_code": None,
        "value_codes": [], "panel_codes": [], "route_codes": [], "reason_codes": [],
        "admission_id": None,
        "order_id": None,
    }  # fmt: skip
    draft = Draft(
        event_type="evidence.recorded", stream_type="evidence",
        occurred=Moment(at(performed), "second", ""), occurred_field="effective",
        data=data, clear={}, stream=StreamName(parts=("fhir", name)), role="administration",
    )  # fmt: skip
    claim = Claim(identifiers=(Identifier(value=patient, authority=AUTHORITY),), visit=None)
    return Facts(
        message_type="FHIR", trigger="MedicationAdministration", control_id="",
        parts=(Part(claim=claim, drafts=(draft,)),),
    )  # fmt: skip


def _given(
    kind: str, code: str, patient: str, number: str, performed: str, *, reported: str = "",
    completion: str = "CP", action: str = "", control: str = "RE", order: str = "",
) -> bytes:  # fmt: skip
    placer = order and f"{order}^CPOE"
    fields = {
        1: "0", 2: "1", 3: _time(performed), 4: "", 5: code, 6: "1", 7: "mL",
        20: completion, 21: action,
    }  # fmt: skip
    segments = [f"ORC|{control}|{placer}|{number}^PHARM", _segment("RXA", fields)]
    return _told(kind, patient, reported or performed, segments, "")


def _told(kind: str, patient: str, reported: str, segments: list[str], visit: str) -> bytes:
    return _message(kind, reported, _pid(patient), *([_pv1(visit)] if visit else []), *segments)


def _message(kind: str, clock: str, *segments: str) -> bytes:
    header = f"MSH|^~\\&|X|Y|||{_time(clock)}||{kind}|v-{next(_NUMBERS)}|P|2.5.1"
    return "\r".join([header, *segments, ""]).encode()


def _segment(name: str, fields: Mapping[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def _pid(patient: str) -> str:
    return f"PID|1||{_cx(patient, 'MR')}"


def _pv1(visit: str) -> str:
    return _segment("PV1", {1: "1", 2: "I", 3: "W^1^1", 19: _cx(visit, "VN")})


def _cx(value: str, kind: str) -> str:
    return f"{value}^^^{AUTHORITY}^{kind}"


def _time(clock: str) -> str:
    return f"{at(clock):%Y%m%d%H%M%S}+0000"
