"""Compiles a schema into a Python function that reads it, twice as fast as fastavro does.

fastavro asks a file object for every byte of every number: 80 calls for an event. A function
written out for one schema indexes the bytes instead. It takes exactly what fastavro takes for
the types of our contracts, except for lengths and numbers that no encoder writes.
"""

from collections.abc import Callable, Mapping
from typing import Any

Reader = Callable[[bytes, int], tuple[Any, int]]  # bytes, where to begin → value, where it ends

LONG_BYTES_MAX = 10  # of 64 bits, seven at a time (Avro specification, Binary Encoding)


class Unsupported(Exception):  # noqa: N818  named for what is wrong
    """The schema has a type that no contract of ours uses so far; fastavro reads it."""


class Malformed(ValueError):
    """A number, length or branch that the schema doesn't allow."""


def reader(schema: Mapping[str, Any]) -> Reader:
    """The function that reads one value of ``schema`` (parsed, without logical types).

    It raises IndexError, ValueError or OverflowError on bytes that don't fit, and may end past
    the last byte: the caller compares where it ended with how many there are.
    """
    source = _Source()
    value = source.read(schema)
    body = "\n".join([*source.lines, f"    return {value}, i"])
    scope: dict[str, Any] = {"long": _long, "length": _length, "Malformed": Malformed}
    code = compile(f"def read(b, i):\n{body}\n", f"<reader of {schema['name']}>", "exec")
    # Nothing of a message is in the source: only our numbering, and names as quoted text.
    exec(code, scope)  # noqa: S102
    compiled: Reader = scope["read"]
    return compiled


class _Source:
    """The lines of a reader; ``b`` are the bytes, ``i`` the place, ``v0, v1 …`` the values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._values = 0

    def read(self, schema: Any, indent: int = 1) -> str:
        """Append the lines that read ``schema``; return the expression of its value."""
        if isinstance(schema, list):
            return self._union(schema, indent)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind == "record":
            parts = [
                f"{field['name']!r}: {self.read(field['type'], indent)}"
                for field in schema["fields"]
            ]
            return "{" + ", ".join(parts) + "}"
        if kind == "null":
            return "None"
        value = self._value()
        if kind in ("string", "bytes"):
            self._text(value, indent, "b[i:j].decode()" if kind == "string" else "b[i:j]")
        elif kind in ("int", "long"):
            self._add(
                indent, f"{value} = b[i]",
                f"if {value} < 128:", f"    {value} = ({value} >> 1) ^ -({value} & 1)", "    i += 1",
                "else:", f"    {value}, i = long(b, i)",
            )  # fmt: skip
        elif kind == "boolean":
            self._add(indent, f"{value} = b[i] != 0", "i += 1")
        elif kind in ("array", "map"):
            self._blocks(value, schema, kind, indent)
        else:
            raise Unsupported(f"no reader is compiled for the type: {kind}")
        return value

    def _text(self, value: str, indent: int, taken: str) -> None:
        # One test finds both a length of several bytes and a negative one.
        self._add(
            indent, "n = b[i]", "i += 1",
            "if n & 129:", "    n, i = length(b, i - 1)",
            "j = i + (n >> 1)", f"{value} = {taken}", "i = j",
        )  # fmt: skip

    def _union(self, branches: list[Any], indent: int) -> str:
        value = self._value()
        self._add(indent, "n = b[i]", "i += 1")
        # The usual branch is the one that says something.
        for word, number in zip(
            ["if"] + ["elif"] * len(branches), reversed(range(len(branches))), strict=False
        ):
            self._add(indent, f"{word} n == {number * 2}:")
            taken = self.read(branches[number], indent + 1)
            self._add(indent + 1, f"{value} = {taken}")
        self._add(indent, "else:", "    raise Malformed")
        return value

    def _blocks(self, value: str, schema: Mapping[str, Any], kind: str, indent: int) -> None:
        left, name = self._value(), self._value()
        self._add(indent, f"{value} = {'[]' if kind == 'array' else '{}'}", "while True:")
        self._add(
            indent + 1, f"{left}, i = long(b, i)", f"if not {left}:", "    break",
            f"if {left} < 0:", f"    {left} = -{left}", "    i = long(b, i)[1]",
            f"while {left}:", f"    {left} -= 1",
        )  # fmt: skip
        if kind == "map":
            self._text(name, indent + 2, "b[i:j].decode()")
            taken = self.read(schema["values"], indent + 2)
            self._add(indent + 2, f"{value}[{name}] = {taken}")
        else:
            self._add(indent + 2, f"{value}.append({self.read(schema['items'], indent + 2)})")

    def _value(self) -> str:
        self._values += 1
        return f"v{self._values}"

    def _add(self, indent: int, *lines: str) -> None:
        self.lines.extend("    " * indent + line for line in lines)


def _long(b: bytes, i: int) -> tuple[int, int]:
    """A zigzag number of up to ten bytes, and where it ends."""
    n = shift = 0
    for byte in b[i : i + LONG_BYTES_MAX]:
        i += 1
        n |= (byte & 127) << shift
        if byte < 128:
            return (n >> 1) ^ -(n & 1), i
        shift += 7
    if shift < 7 * LONG_BYTES_MAX:
        raise IndexError("record is cut short")
    raise Malformed


def _length(b: bytes, i: int) -> tuple[int, int]:
    """Twice a length that is no single byte, and where it ends."""
    n, i = _long(b, i)
    if n < 0:
        raise Malformed
    return 2 * n, i
