"""Feeds are listed and set, dead letters listed, on a real database."""

from uuid import uuid4

from ops import deploy


def test_a_feed_is_listed_and_set(desk, loaded) -> None:
    settings = ("--charset", "8859/1", "--authority", "CITY", "--processing-ids", "T,P")
    done = desk.run("feeds", "set", "demo", "--zone", "Europe/London", *settings)
    assert done.exit_code == 0, done.stderr
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert (feed["zone"], feed["charset"], feed["authority"]) == ("Europe/London", "8859/1", "CITY")
    assert feed["processing_ids"] == ["P", "T"]
    assert "Europe/London" in desk.run("feeds", "list").stdout


def test_a_feed_can_take_any_processing_id_and_go_back_to_the_declared_charset(desk, loaded):
    for settings in (("--charset", "UTF-8"), ("--processing-ids", "any", "--charset", "")):
        assert desk.run("feeds", "set", "demo", *settings).exit_code == 0
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert (feed["processing_ids"], feed["charset"]) == ([], None)


def test_a_feed_that_is_not_there_is_told_with_where_to_look(desk) -> None:
    result = desk.run("feeds", "set", "emergency", "--zone", "UTC")
    assert result.exit_code == 1
    assert result.stderr == "wardtrail: no such feed: emergency (hint: wardtrail feeds list)\n"


def test_dead_letters_are_listed_with_where_and_why(desk, loaded) -> None:
    assert desk.run("dead-letters", "list").stdout == "no dead letters\n"
    desk.insert(
        "dead_letters", id=uuid4(), tenant_id=deploy.DEMO_TENANT, subscription_id="ledger",
        topic="emr.hl7v2.v1", partition=3, offset=17, stage="map", cause="no_patient",
        reason="PID-3 holds no identifier of a person", record_sealed=b"CANARY",
    )  # fmt: skip
    listed = desk.run("dead-letters", "list")
    assert "emr.hl7v2.v1/3@17" in listed.stdout
    assert "PID-3 holds no identifier of a person" in listed.stdout
    (letter,) = loaded(desk.run("dead-letters", "list", "--json", "--tenant", "demo"))
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("emr.hl7v2.v1", 3, 17)
    assert (letter["stage"], letter["cause"]) == ("map", "no_patient")
    assert "CANARY" not in listed.output
