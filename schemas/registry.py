"""The schema registry: registering our subjects, looking up their ids, over Confluent's API."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas import catalogue
from schemas.codec import Ids, Writer
from schemas.topics import EVENTS

COMPATIBILITY = "FULL_TRANSITIVE"
REPLY_SECONDS = 5.0  # the client's own default is to wait for ever
ASKING = 8  # requests under way: a process that starts asks of every subject
VERSIONS_MAX = 1_000  # of one subject; a registry that says more is not ours
FOREIGN_MAX = 1_000  # events that only newer releases know; there are less than a hundred in all
_EVENTS = f"{EVENTS.name}-"
_NO_ID = -1
_NOT_FOUND = 404
_REFUSED = frozenset({409, 422})
_Answer = TypeVar("_Answer")
_Asked = TypeVar("_Asked")


class RegistryAway(Exception):  # noqa: N818  named for what is wrong
    """The registry doesn't answer, or answers that it can't now."""


class SchemaMissing(Exception):  # noqa: N818  named for what is wrong
    """The registry doesn't know one of our schemas."""


class SchemaIncompatible(Exception):  # noqa: N818  named for what is wrong
    """The registry refuses a schema: it doesn't fit the versions before it."""


class CompatibilityWeak(Exception):  # noqa: N818  named for what is wrong
    """The registry checks less than FULL_TRANSITIVE, so a change could break old readers."""


class Registry:
    """A Confluent-compatible registry at ``url``; every request is bounded in time."""

    def __init__(self, url: str, timeout_seconds: float = REPLY_SECONDS) -> None:
        if not url.startswith(("http://", "https://")):
            # A mock:// registry lives in the client and checks nothing.
            raise ValueError(f"the registry's address is http:// or https://, not: {url}")
        self.url = url
        self._client = SchemaRegistryClient(
            {
                "url": url,
                "timeout": timeout_seconds,
                "max.retries": 1,
                "retries.wait.ms": 100,
                "retries.max.wait.ms": 500,
            }
        )

    def lookup(self) -> Ids:
        """The ids of our schemas and of their older versions; asks and changes nothing.

        Also those of events under our topic that this release doesn't know.
        Raises :class:`SchemaMissing` if one of ours isn't registered.
        """
        newest: dict[str, int] = {}
        older: list[Writer] = []
        for record, number, writers in _all(self._known, catalogue.subjects().items()):
            newest[record] = number
            older.extend(writers)
        return Ids(newest=newest, older=tuple(older), foreign=tuple(self._foreign()))

    def check(self) -> None:
        """Raise :class:`CompatibilityWeak` unless every subject of ours is FULL_TRANSITIVE."""
        subjects = (None, *catalogue.subjects())
        for subject, level in zip(subjects, _all(self._level, subjects), strict=True):
            if level is not None and level != COMPATIBILITY:
                raise CompatibilityWeak(
                    f"compatibility of {subject or 'the registry'} must be {COMPATIBILITY} "
                    f"(set by: wardtrail migrate), is: {level}"
                )

    def register_all(self) -> Ids:
        """Register every subject of the catalogue; the deploy step's work, never a producer's.

        Idempotent. Sets compatibility to FULL_TRANSITIVE first, so that the registry checks
        each schema against all versions before it (:class:`SchemaIncompatible`).
        """
        if self._level(None) != COMPATIBILITY:
            self._ask(self._client.set_compatibility, None, COMPATIBILITY)
        _all(self._register, catalogue.subjects().items())
        return self.lookup()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _register(self, named: tuple[str, str]) -> None:
        subject, record = named
        self._raise_level(subject)
        try:
            self._ask(self._client.register_schema, subject, _avro(record))
        except SchemaRegistryError as error:
            if error.http_status_code not in _REFUSED:
                raise RegistryAway(_said(error)) from None
            raise SchemaIncompatible(
                f"schema doesn't fit the versions before it, subject: {subject}"
            ) from error
        self._raise_level(subject)

    def _raise_level(self, subject: str) -> None:
        """Set the subject's own level, if it is there and has another or none.

        Apicurio tells NONE for a subject without a level of its own, whatever the global one is.
        """
        if self._level(subject) not in (None, COMPATIBILITY):
            self._ask(self._client.set_compatibility, subject, COMPATIBILITY)

    def _known(self, named: tuple[str, str]) -> tuple[str, int, list[Writer]]:
        """A record with its id and its subject's other versions."""
        subject, record = named
        try:
            found = self._ask(self._client.lookup_schema, subject, _avro(record))
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise RegistryAway(_said(error)) from None
            raise SchemaMissing(
                f"the registry lacks our schema (register it by: wardtrail migrate): {subject}"
            ) from None
        number = found.schema_id
        if not isinstance(number, int):
            raise RegistryAway(f"what answers at {self.url} is no registry")
        return record, number, self._older(subject, record, number, found.version)

    def _older(self, subject: str, record: str, newest: int, ours: int | None) -> list[Writer]:
        """Every other version of the subject, also those newer than this program's."""
        versions = self._ask(self._client.get_versions, subject)
        if len(versions) > VERSIONS_MAX:
            raise RegistryAway(f"the registry names too many versions: {len(versions)}")
        found = [
            self._ask(self._client.get_version, subject, number)
            for number in versions
            if number != ours
        ]
        return [
            Writer(schema_id=one.schema_id, record=record, text=one.schema.schema_str)
            for one in found
            if one.schema_id != newest
        ]

    def _foreign(self) -> list[Writer]:
        """Every version of every event that a newer release has registered under our topic."""
        subjects = [
            subject
            for subject in self._ask(self._client.get_subjects)
            if subject.startswith(_EVENTS) and catalogue.is_foreign(subject.removeprefix(_EVENTS))
        ]
        if len(subjects) > FOREIGN_MAX:
            raise RegistryAway(f"the registry names too many subjects: {len(subjects)}")
        return [writer for found in _all(self._versions, sorted(subjects)) for writer in found]

    def _versions(self, subject: str) -> list[Writer]:
        record = subject.removeprefix(_EVENTS)
        try:
            return self._older(subject, record, _NO_ID, None)
        except SchemaRegistryError:
            return []  # it was deleted since

    def _level(self, subject: str | None) -> str | None:
        """The compatibility that is set for the subject itself, None if none is."""
        try:
            level: str = self._ask(self._client.get_compatibility, subject)
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise RegistryAway(_said(error)) from None
            return None
        return level.upper()

    def _ask(self, request: Callable[..., _Answer], *arguments: object) -> _Answer:
        """One request; what the registry refuses passes through, the rest is ``RegistryAway``."""
        try:
            return request(*arguments)
        except SchemaRegistryError as error:
            if error.http_status_code in _REFUSED or error.http_status_code == _NOT_FOUND:
                raise
            raise RegistryAway(_said(error)) from None
        except Exception as error:  # httpx, httpx2 or what the answer is, by the client's choice
            raise RegistryAway(
                f"the registry doesn't answer at {self.url}: {type(error).__name__}"
            ) from error


def _all(request: Callable[[_Asked], _Answer], asked: Iterable[_Asked]) -> list[_Answer]:
    """The answers in the order of what was asked, some requests at once; the first error ends."""
    with ThreadPoolExecutor(ASKING) as threads:
        try:
            return list(threads.map(request, asked))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _avro(record: str) -> Schema:
    return Schema(catalogue.text(record), schema_type="AVRO")


def _said(error: SchemaRegistryError) -> str:
    return f"the registry can't answer now, status: {error.http_status_code}"
