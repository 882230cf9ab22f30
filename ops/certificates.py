"""The certificate that MLLP is served with: read at start, and again when its files change."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from ops.settings import Settings, SettingsInvalid, variable
from producers import tls
from producers.tls import Files, TlsInvalid

LOOK_SECONDS = 5.0  # how soon a replaced certificate is served without a signal

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Certificates:
    """The files, as they were read last, and what came of looking again."""

    files: Files
    renewed: int = 0
    refused: int = 0  # changes that can't be served: the one before goes on
    _stamp: tuple[tuple[int, int, int] | None, ...] = field(default=())
    _ends_at: datetime = field(default=datetime.max.replace(tzinfo=UTC))

    def context(self) -> ssl.SSLContext:
        """The context to serve with; raises :class:`~producers.tls.TlsInvalid`."""
        self._stamp = self.files.stamp()
        context = tls.server_context(self.files)
        self._ends_at = tls.expires_at(self.files.certificate)
        return context

    def look(self, *, anyway: bool = False) -> ssl.SSLContext | None:
        """A new context if a file changed; None also where it can't be used, which is told once."""
        if not anyway and self.files.stamp() == self._stamp:
            return None
        try:
            context = self.context()
        except TlsInvalid as trouble:
            self.refused += 1
            logger.error("the certificate that was read before serves on: %s", trouble)
            return None
        self.renewed += 1
        logger.info("another certificate serves from now on")
        return context

    def gauges(self) -> dict[str, int]:
        """What an alarm may look at; seconds are negative where it has ended."""
        left = self._ends_at - datetime.now(UTC)
        return {
            "certificate_seconds_left": int(left.total_seconds()),
            "renewed": self.renewed,
            "renewals_refused": self.refused,
        }

    async def follow(self, serve: Callable[[ssl.SSLContext], None], again: asyncio.Event) -> None:
        """Hand over each new context; ``again`` is set to look at once. Ends by cancellation."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await again.wait()
            except TimeoutError:
                pass
            found = self.look(anyway=again.is_set())
            again.clear()
            if found is not None:
                serve(found)


def of(settings: Settings) -> Certificates | None:
    """The certificates of these settings; None where MLLP is without TLS.

    Raises :class:`SettingsInvalid` where a certificate is lacking.
    """
    if settings.mllp_tls_certificate is None:
        for name in ("mllp_tls_key", "mllp_tls_ca"):
            if getattr(settings, name) is not None:
                raise SettingsInvalid(
                    f"{variable(name)} is set without {variable('mllp_tls_certificate')}"
                )
        return None
    certificate = settings.mllp_tls_certificate
    return Certificates(
        files=Files(
            certificate=certificate, key=settings.mllp_tls_key or certificate,
            ca=settings.mllp_tls_ca,
        )
    )  # fmt: skip


NOTHING_NAMED: Mapping[str, Path | None] = MappingProxyType(
    {"ca": None, "certificate": None, "key": None}
)


def to_send(
    settings: Settings, named: Mapping[str, Path | None], *, own: bool
) -> ssl.SSLContext | None:
    """The context to send with; None is plaintext.

    ``named`` has ``ca``, ``certificate`` and ``key`` as somebody gave them. The home's ``own``
    intake is trusted by its very certificate, whatever name is in it.
    """
    certificate, key = named["certificate"], named["key"]
    if named["ca"] is not None:
        return tls.client_context(named["ca"], certificate=certificate, key=key)
    if own and settings.mllp_tls_certificate is not None:
        return tls.client_context(
            settings.mllp_tls_certificate, certificate=certificate, key=key, names=False
        )
    if certificate is not None:
        raise TlsInvalid("a certificate is shown over TLS alone (hint: --tls-ca FILE)")
    return None
