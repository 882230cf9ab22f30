"""Families of messages: those of one tell of one thing after another, and wait for each other."""

FAMILIES = {
    "ADT": "adt",
    "ORU": "results", "OUL": "results", "VXU": "results",
    "ORM": "orders", "OMG": "orders", "OML": "orders", "OMI": "orders", "OMP": "orders",
    "OMN": "orders", "OMD": "orders", "OMS": "orders", "RDE": "orders", "RDS": "orders",
    "RAS": "orders", "RGV": "orders",
    "SIU": "scheduling", "SRM": "scheduling",
    "MDM": "documents",
}  # fmt: skip
OTHER = "other"


def family(message_type: str) -> str:
    """The family of a message type as its record has it, such as ``ADT^A01``."""
    return FAMILIES.get(message_type[:3], OTHER)
