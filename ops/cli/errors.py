"""What each kind of trouble is to the user: one line, and what to do about it."""

import errno
import os
from collections.abc import Sequence
from typing import Any

import click
from confluent_kafka import KafkaException

from ops.access import NotConfigured
from ops.deploy import TopicUnfit
from ops.erasing import ErasureUnfinished
from ops.feed_copy import CopyUnread
from ops.refusals import StartRefused
from ops.settings import SettingsInvalid
from ops.simulator import ScenarioRefused
from ops.stack.errors import StackFailed
from ops.tenant_export import ExportThere
from ops.tenant_fields import TenantUnfit
from ops.vault import VaultInvalid
from producers.tls import TlsInvalid
from schemas.codec import IdsInvalid
from schemas.failpoints import FailPointsInvalid
from schemas.registry import CompatibilityWeak, RegistryAway, SchemaIncompatible, SchemaMissing
from schemas.sealing import EnvelopeInvalid, KeyMissing, KeyServiceAway
from sinks.cleaning import LogNotSwitched
from sinks.database import DatabaseAway, LoginRefused, Refused
from sinks.erasing import OnHold, PatientUnknown, RequestUnfit, Unconfirmed
from sinks.feeds import FeedThere, InstanceOther
from sinks.lifecycle import NotDrained, NotExported, TenantActive, TenantThere
from sinks.parking import Unfit
from sinks.queries import NotMigrated, TenantUnknown
from sinks.questions import AnswerTooLong
from sinks.rebuild import EventsUnknown, EventUnfit, Overtaken
from sinks.relay import RowsMissing
from sinks.roots import RootChanging, RootOther
from sinks.rotation import TenantWithoutKeys
from sinks.subscriptions import TopicReplaced
from sinks.tenancy import FeedUnknown, TenantDeleted, ZoneUnknown
from streams.erasures import ErasuresLost
from streams.log import BrokerAway, TopicMissing
from streams.ports import Transient

MISUSED = 2
# Each exception that we know, and its hint; the exception's own message is the line, and says
# nothing of a patient. The first that fits counts.
KNOWN: Sequence[tuple[type[Exception], str]] = (
    (SettingsInvalid, "docs/operating.md lists every setting"),
    (NotConfigured, ""),  # its message says what to do
    (StackFailed, ""),
    (StartRefused, ""),
    (TlsInvalid, "docs/operating.md says what each TLS file holds"),
    (DatabaseAway, "is it up? see: wardtrail status"),
    (LoginRefused, ""),
    (Refused, "the rows contradict what is there; nothing was changed"),
    (NotMigrated, "wardtrail migrate"),
    (BrokerAway, "is it up? see: wardtrail status"),
    (TopicMissing, "wardtrail migrate"),
    (TopicUnfit, ""),
    (RegistryAway, "is it up? see: wardtrail status"),
    (SchemaMissing, "wardtrail migrate"),
    (SchemaIncompatible, "the registry holds schemas of another program, or of a newer one"),
    (CompatibilityWeak, ""),
    (IdsInvalid, "wardtrail migrate"),
    (VaultInvalid, ""),
    (KeyServiceAway, "is it up and unsealed, and the token valid?"),
    (TenantWithoutKeys, "wardtrail migrate"),
    (RootChanging, ""),
    (RootOther, "is WARDTRAIL_ROOT_KEY_FILE, or WARDTRAIL_VAULT_KEY, the newest one?"),
    (EnvelopeInvalid, "is WARDTRAIL_ROOT_KEY_FILE the key that this database was made with?"),
    (KeyMissing, "the key was destroyed, or belongs to a newer version"),
    (FeedUnknown, "wardtrail feeds list"),
    (AnswerTooLong, "ask for less; a number that a feed gives to everybody has no one's path"),
    (ZoneUnknown, ""),
    (TenantUnknown, "--tenant takes a subdomain, a name or an id"),
    (EventsUnknown, "rebuild with the release that wrote them"),
    (EventUnfit, ""),
    (Overtaken, "it does the whole work; see: wardtrail lag"),
    (RowsMissing, "an invariant is broken; restore the database"),
    (FailPointsInvalid, "WARDTRAIL_FAIL is for tests"),
    (TenantUnfit, ""),
    (TenantThere, "wardtrail tenants list"),
    (TenantActive, ""),
    (TenantDeleted, "a deleted tenant never comes back: create one of another id"),
    (NotExported, ""),
    (NotDrained, ""),
    (ExportThere, "name another file"),
    (FeedThere, ""),
    (CopyUnread, ""),
    (InstanceOther, ""),
    (ScenarioRefused, ""),
    (PatientUnknown, "an id, or - and the number on standard input"),
    (Unconfirmed, ""),
    (OnHold, "wardtrail erase holds"),
    (RequestUnfit, "wardtrail erase status"),
    (ErasureUnfinished, "the same again goes on where it was"),
    (LogNotSwitched, ""),
    (ErasuresLost, "restore the topic subject.erasures.v1: nothing is opened without it"),
    (TopicReplaced, ""),
    (Transient, "the same again goes on where it was"),
    (Unfit, "that message is left; name others, as by --type"),
)
MISUSES = (SettingsInvalid, ZoneUnknown, ScenarioRefused, FailPointsInvalid, TenantUnfit)
DEBUG_HINT = "WARDTRAIL_LOG_LEVEL=debug shows where; the processes' logs are in the home's logs/"


class Failed(click.ClickException):
    """The command failed: exit code 1, one line and a hint on standard error."""

    def __init__(self, message: str, hint: str = "") -> None:
        hinted = f"{message} (hint: {hint})" if hint and "(hint:" not in message else message
        super().__init__(hinted)

    def show(self, file: Any = None) -> None:  # noqa: ANN401  as click declares it
        """Print the line."""
        click.echo(f"wardtrail: {self.message}", err=True, file=file)


class Told(click.Group):
    """A group whose commands tell their trouble in a line and never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  as click declares it
        """Run the command; what it raises becomes `Failed`."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click ends quietly when the reader of a pipe has gone
            if os.environ.get("WARDTRAIL_LOG_LEVEL", "").lower() == "debug":
                raise
            raise told(error) from None


def told(error: Exception) -> Failed:
    """The line for an exception; of one that we don't know only its type, which holds no PHI."""
    for kind, hint in KNOWN:
        if isinstance(error, kind):
            # A connection that was never made has no SQLSTATE.
            line = str(error).replace("asks for patience, sqlstate: None", "doesn't answer")
            failed = Failed(line, hint)
            failed.exit_code = MISUSED if isinstance(error, MISUSES) else failed.exit_code
            return failed
    if isinstance(error, KafkaException):
        return Failed(
            f"the brokers refuse: {error.args[0].name()}", "is it up? see: wardtrail status"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return Failed(f"{error.strerror.lower()}{where}")
    return Failed(f"unexpected trouble: {type(error).__name__}", DEBUG_HINT)
