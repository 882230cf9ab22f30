"""Who tasks and evidence are of, after merges and moved visits (rules V7, M5, M7)."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinks.aliases import Forest, Told, forest
from streams.verification.facts import Evidence, Facts, Order, Task, Visit


@dataclass(frozen=True, slots=True)
class People:
    """Each tenant's patients under their survivors, and its visits."""

    forests: Mapping[str, Forest]
    visits: Mapping[tuple[str, str], Visit]

    @classmethod
    def of(cls, facts: Facts) -> "People":
        """Who is who by the links and visits among these facts, each taken once."""
        told: dict[str, dict[str, Told]] = {}
        for link in facts.links:
            told.setdefault(link.tenant_id, {})[link.told.event_id] = link.told
        return cls(
            {tenant: forest(links.values()) for tenant, links in told.items()},
            {(visit.tenant_id, visit.admission_id): visit for visit in facts.visits},
        )

    def of_task(self, task: Task) -> str | None:
        """The patient that a task is about now."""
        return self._of(task.tenant_id, task.admission_id, task.patient_id)

    def of_evidence(self, evidence: Evidence) -> str:
        """The patient that evidence tells of now."""
        found = self._of(evidence.tenant_id, evidence.admission_id, evidence.patient_id)
        assert found is not None, "evidence names a patient"
        return found

    def of_order(self, order: Order) -> str | None:
        """The patient for whom something is ordered now."""
        return self._of(order.tenant_id, order.admission_id, order.patient_id)

    def person(self, tenant_id: str, patient_id: str) -> str:
        """Who a patient is now."""
        known = self.forests.get(tenant_id)
        return patient_id if known is None else known.survivor(patient_id)

    def visit(self, tenant_id: str, admission_id: str | None) -> str | None:
        """The visit as which this one goes on; numbers that lead in a circle lead nowhere."""
        if admission_id is None:
            return None
        passed = [admission_id]
        while True:
            known = self.visits.get((tenant_id, passed[-1]))
            if known is None or known.joined_into is None:
                return passed[-1]
            if known.joined_into in passed:
                return min(passed[passed.index(known.joined_into) :])
            passed.append(known.joined_into)

    def _of(self, tenant: str, admission: str | None, patient: str | None) -> str | None:
        owner = self._owner(tenant, admission) or patient
        known = self.forests.get(tenant)
        return owner if owner is None or known is None else known.survivor(owner)

    def _owner(self, tenant: str, admission: str | None) -> str | None:
        """Whose visit it became: as told of the visit that it goes on as, else of its own."""
        if admission is None:
            return None
        for each in (self.visit(tenant, admission), admission):
            known = self.visits.get((tenant, each or ""))
            if known is not None and known.owner_id is not None:
                return known.owner_id
        return None
