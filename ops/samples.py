"""Samples for `/metrics`, in the Prometheus text format."""

from collections.abc import Mapping


def sample(name: str, labels: Mapping[str, str], value: int) -> str:
    """One sample; labels are escaped as the format wants it."""
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"wardtrail_{name}{f'{{{said}}}' if said else ''} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
