"""What a process refuses to start with, each shown refusing and being lifted."""

import dataclasses
import logging
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import migrations
from ops import deploy, refusals
from ops.deploy import TopicUnfit, check_topics, make_topics
from ops.settings import Settings
from sinks import checks, roles
from sinks.checks import Found
from sinks.database import as_role, connect
from tests.conftest import Database, Stack

SOUND = Found(
    version=160_015, role="wt_worker", above_policies=False, unforced=(),
    revision=migrations.head(), clock_seconds=0.01,
)  # fmt: skip


def names(**changes: object) -> list[str]:
    return [each.name for each in refusals.of_database(dataclasses.replace(SOUND, **changes))]


def test_a_sound_database_is_not_objected_to():
    assert names() == []


@pytest.mark.parametrize("version", [140_020, 150_013, 160_009, 170_005])
def test_a_postgres_that_leaks_past_row_security_is_refused(version):
    assert names(version=version) == ["postgres-version"]


@pytest.mark.parametrize("version", [150_014, 160_010, 170_006, 180_000])
def test_a_postgres_from_the_fix_on_is_taken(version):
    assert names(version=version) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"above_policies": True}, "role"),
        ({"unforced": ("events",)}, "row-security"),
        ({"revision": None}, "revision"),
        ({"revision": "000"}, "revision"),
        ({"clock_seconds": 2.1}, "clock"),
        ({"clock_seconds": -2.1}, "clock"),
    ],
)
def test_each_of_the_others_is_refused_by_its_name(changes, name):
    assert names(**changes) == [name]


def test_a_clock_at_the_bound_is_taken():
    assert names(clock_seconds=2.0) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "hospital.example"])
def test_a_plaintext_listener_off_loopback_is_refused(host):
    found = list(refusals.of_listeners(Settings(mllp_host=host)))
    assert [each.name for each in found] == ["plaintext"]


def test_mllp_with_tls_may_listen_anywhere_and_http_may_not(tmp_path):
    settings = Settings(mllp_host="0.0.0.0", mllp_tls_certificate=tmp_path / "certificate.pem")
    assert list(refusals.of_listeners(settings)) == []
    both = replace(settings, http_host="0.0.0.0")
    assert ["HTTP" in each.reason for each in refusals.of_listeners(both)] == [True]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_listener_on_loopback_is_taken(host):
    assert list(refusals.of_listeners(Settings(mllp_host=host, http_host=host))) == []


def test_a_refusal_says_how_to_lift_it_and_is_told_when_lifted(tmp_path, caplog):
    key = tmp_path / "root.key"
    settings = Settings(
        home=tmp_path, root_key_file=key, database_url="postgresql://127.0.0.1:1/none",
        kafka_bootstrap_servers="127.0.0.1:1",
    )  # fmt: skip
    with pytest.raises(refusals.StartRefused, match="WARDTRAIL_ALLOW=root-key"):
        refusals.check(settings)
    with caplog.at_level(logging.WARNING):
        lifted = list(refusals.objections(dataclasses.replace(settings, allow="root-key")))
    assert [each.name for each in lifted] == ["root-key"]


def test_the_login_of_a_worker_stands_below_the_policies_and_the_superuser_above(
    stack: Stack, database: Database
):
    secrets = dict.fromkeys(roles.LOGINS, "a-secret-for-the-test")
    roles.provision(stack.url(), database.name, secrets)
    with connect(database.url, name="test") as connection:
        connection.execute(f'ALTER DATABASE "{database.name}" OWNER TO wt_owner')
        assert checks.look(connection).above_policies
    migrations.upgrade(as_role(database.url, "wt_migrate", secrets["wt_migrate"]))
    with connect(as_role(database.url, "wt_worker", secrets["wt_worker"]), name="test") as worker:
        assert list(refusals.of_database(checks.look(worker))) == []
    with connect(database.url, name="test") as connection:
        connection.execute("ALTER TABLE events NO FORCE ROW LEVEL SECURITY")
    with connect(as_role(database.url, "wt_worker", secrets["wt_worker"]), name="test") as worker:
        found = [each.name for each in refusals.of_database(checks.look(worker))]
        assert found == ["row-security"]


def test_a_topic_that_is_less_than_declared_is_refused(stack: Stack):
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    there = admin.list_topics(timeout=10).topics
    name = next(iter(deploy.TOPICS))
    if name not in there:
        made = admin.create_topics([NewTopic(name, 4, 1, config={"cleanup.policy": "compact"})])
        made[name].result(10)
        with pytest.raises(TopicUnfit, match=r"cleanup\.policy"):
            make_topics(stack.bootstrap_servers, 4)
        admin.delete_topics([name])[name].result(10)
    else:
        with pytest.raises(TopicUnfit, match="partitions"):
            check_topics(admin, 7)
