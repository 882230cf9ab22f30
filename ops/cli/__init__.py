"""The command line `wardtrail`: its commands, and what each kind of trouble looks like."""

import click

from ops.cli.commanding import command as asking
from ops.cli.erase import erase
from ops.cli.errors import Told
from ops.cli.exporting import export
from ops.cli.feeds import feeds
from ops.cli.finding import find
from ops.cli.keys import keys
from ops.cli.lagging import lag
from ops.cli.letters import dead_letters
from ops.cli.lifecycle import down, migrate, serve, status, up, worker
from ops.cli.paths import timeline, where
from ops.cli.playing import demo
from ops.cli.quality import quality
from ops.cli.rebuilding import rebuild
from ops.cli.remapping import remap
from ops.cli.sending import send
from ops.cli.simulating import simulating
from ops.cli.tenants import tenants
from ops.cli.tracing import trace
from ops.cli.verifying import verify
from ops.cli.wards import census, contacts
from ops.cli.watching import watch


@click.group(cls=Told, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wardtrail")
def main() -> None:
    """Every patient's path through the hospital, exactly once.

    Begin with `wardtrail demo`. Settings come from the environment (WARDTRAIL_...) or the TOML
    file that WARDTRAIL_CONFIG names; `wardtrail up` needs none.

    Exit codes: 0 done, 1 failed, 2 misused.
    """


for command in (
    up, down, status, demo, migrate, worker, serve,
    send, watch, asking, where, timeline, census, contacts, quality, export, lag, dead_letters,
    trace, feeds, simulating, verify, rebuild, remap, find, tenants, keys, erase,
):  # fmt: skip
    main.add_command(command)
