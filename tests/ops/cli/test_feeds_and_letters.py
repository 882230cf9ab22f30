"""Feeds are listed and set, dead letters listed, on a real database."""

from uuid import uuid4

import psycopg

from ops import access, deploy
from sinks import requests


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


def test_feeds_whose_tenants_keys_do_not_open_are_listed_with_why(desk, loaded) -> None:
    assert desk.run("feeds", "list").stderr == ""
    access.write_private(desk.settings().root_key, "cd" * 32)
    listed = desk.run("feeds", "list")
    assert listed.exit_code == 0
    assert "keys don't open" in " ".join(listed.stdout.split())
    assert "nothing is taken: the root key doesn't open this tenant's" in listed.stderr
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert feed["keys_open"] is False
    desk.settings().root_key.unlink()
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert feed["keys_open"], "where no root key is set nobody can tell"


def test_a_feed_that_can_not_be_read_is_listed_with_why_and_can_be_set(desk, loaded) -> None:
    with psycopg.connect(desk.superuser, autocommit=True) as connection:
        connection.execute("UPDATE feeds SET zone = 'Mars/Base' WHERE name = 'demo'")
    listed = desk.run("feeds", "list")
    assert listed.exit_code == 0
    assert "no such time zone" in " ".join(listed.stdout.split())
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert "Mars/Base" in feed["fault"]
    assert desk.run("feeds", "set", "demo", "--zone", "UTC").exit_code == 0
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    assert feed["fault"] is None


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


def letter(desk, offset=17, *, state="dead", subscription="patients", key=None, **given) -> str:
    """A dead letter of the demo tenant, parked under a key if one is given; its id."""
    number = str(uuid4())
    place = {
        "subscription_id": subscription, "topic": "clinical.events.v1", "partition": 3,
        "offset": offset, "tenant_id": deploy.DEMO_TENANT,
    }  # fmt: skip
    row = {"stage": "fold", "cause": "fold_failed", "reason": "fold raised: KeyError", **given}
    desk.insert("dead_letters", id=number, state=state, record_sealed=b"CANARY", **place, **row)
    if key:
        desk.insert("parked_records", parked_key=key, **place)
    return number


def requested(desk, loaded, number) -> list[tuple[str, str, str | None]]:
    shown = loaded(desk.run("dead-letters", "show", number, "--json"))
    return [(each["action"], each["purpose"], each["ended"]) for each in shown["requests"]]


def test_letters_are_counted_before_they_are_listed_and_chosen_by_class_and_feed(desk, loaded):
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    letter(desk, 1, feed_id=feed["id"])
    letter(desk, 2, feed_id=feed["id"])
    letter(desk, 3, subscription="ledger", cause="no_patient")
    counted, listed = desk.run("dead-letters", "list").stdout.split("\n\n")
    assert counted.splitlines()[0].startswith("letters")
    assert counted.splitlines()[1].split()[:4] == ["2", "patients", "demo", "fold"]
    assert len(listed.splitlines()) == 4
    assert "\n\n" not in desk.run("dead-letters", "list", "--counts").stdout
    largest, _ = loaded(desk.run("dead-letters", "list", "--counts", "--json"))
    assert (largest["letters"], largest["feed"], largest["cause"]) == (2, "demo", "fold_failed")
    for options, offsets in (
        (("--feed", "demo"), [2, 1]),
        (("--cause", "no_patient"), [3]),
        (("--subscription", "ledger"), [3]),
        (("--subscription", "ledger", "--feed", "demo"), []),
    ):
        told = loaded(desk.run("dead-letters", "list", "--json", *options))
        assert [each["offset"] for each in told] == offsets


def test_a_dead_letter_is_shown_with_what_waits_and_never_its_content(desk, loaded) -> None:
    stream = str(uuid4())
    number = letter(desk, 1, key=stream)
    for offset in (2, 5):
        letter(desk, offset, state="parked", cause="behind", key=stream)
    letter(desk, 3, key=str(uuid4()))
    whole = loaded(desk.run("dead-letters", "show", number, "--json"))
    assert (whole["waiting"], whole["keys"], whole["requests"]) == (2, [stream], [])
    shown = desk.run("dead-letters", "show", number)
    assert "clinical.events.v1/3@1" in shown.stdout
    assert "behind it:    2" in shown.stdout
    assert "CANARY" not in shown.output
    assert len(loaded(desk.run("dead-letters", "list", "--json", "--state", "parked"))) == 2


def test_a_letter_that_is_not_there_is_told_with_where_to_look(desk) -> None:
    result = desk.run("dead-letters", "show", str(uuid4()))
    assert result.exit_code == 1
    assert "hint: wardtrail dead-letters list" in result.stderr


def test_a_retry_is_counted_asked_for_and_kept_with_who_and_why(desk, loaded) -> None:
    number = letter(desk, 1, key="k")
    letter(desk, 2, state="parked", cause="behind", key="k")
    why = ("--reason", "mended")
    dry = desk.run("dead-letters", "retry", number, *why, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "")
    assert dry.stderr == "patients: no feed: fold_failed: 1 dead, 1 behind them\n"
    refused = desk.run("dead-letters", "retry", number, *why, stdin="n\n")
    assert refused.exit_code == 1
    assert requested(desk, loaded, number) == []
    done = desk.run("dead-letters", "retry", number, *why, stdin="y\n")
    assert done.stdout.endswith("asked for: 1, asked for before: 0\n")
    again = desk.run("dead-letters", "discard", number, *why, "--yes")
    assert again.stdout == "asked for: 0, asked for before: 1\n"
    assert requested(desk, loaded, number) == [("retry", "mended", None)]
    assert "by " in desk.run("dead-letters", "show", number).stdout


def test_letters_are_asked_about_by_cause_projection_and_feed(desk, loaded) -> None:
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    first = letter(desk, 1, cause="refused", feed_id=feed["id"])
    second = letter(desk, 2, subscription="trajectory")
    for options, expected in (
        (("--cause", "refused"), "patients: demo: refused: 1"),
        (("--feed", "demo"), "patients: demo: refused: 1"),
        (("--projection", "trajectory", "--tenant", "demo"), "trajectory: no feed: fold_failed: 1"),
        (("--subscription", "trajectory"), "trajectory: no feed: fold_failed: 1"),
    ):
        told = desk.run("dead-letters", "discard", *options, "--reason", "x", "--dry-run")
        assert told.stderr.startswith(expected), told.output
    done = desk.run("dead-letters", "discard", "--cause", "refused", "--reason", "x", "--yes")
    assert done.exit_code == 0
    assert requested(desk, loaded, first) == [("discard", "x", None)]
    assert requested(desk, loaded, second) == []


def test_who_asks_about_none_or_about_one_that_waits_is_told(desk) -> None:
    assert desk.run("dead-letters", "retry", "--reason", "x").exit_code == 2
    assert desk.run("dead-letters", "retry", str(uuid4())).exit_code == 2, "no reason given"
    waiting = letter(desk, 18, state="parked", key="k")
    for number in (str(uuid4()), waiting):
        told = desk.run("dead-letters", "retry", number, "--reason", "x", "--yes")
        assert told.exit_code == 1
        assert "no dead letter fits" in told.stderr


def test_who_asks_about_more_than_is_asked_at_once_is_told_so(desk, monkeypatch) -> None:
    monkeypatch.setattr(requests, "ASKED_MAX", 2)
    for offset in range(3):
        letter(desk, offset)
    chosen = ("--cause", "fold_failed", "--reason", "x")
    told = desk.run("dead-letters", "retry", *chosen, "--dry-run").stderr.splitlines()
    assert told[0].startswith("patients: no feed: fold_failed: 2 dead")
    assert told[1] == "wardtrail: at once at most 2 (hint: then again)"


def test_the_ledgers_letters_are_listed_by_cause_feed_and_family_and_asked_about(
    desk, loaded
) -> None:
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    given = {"subscription": "ledger", "stage": "map", "reason": "r", "feed_id": feed["id"]}
    first = letter(desk, 1, cause="charset", family="results", **given)
    letter(desk, 2, cause="structure", family="adt", **given)
    letter(desk, 3)
    for options, count in (
        (("--cause", "charset"), 1), (("--feed", "demo"), 2), (("--feed", "none"), 0),
        (("--feed", "demo", "--cause", "refused"), 0),
    ):  # fmt: skip
        assert len(loaded(desk.run("dead-letters", "list", "--json", *options))) == count
    assert "results" in desk.run("dead-letters", "list", "--cause", "charset").stdout
    assert "family:       results" in desk.run("dead-letters", "show", first).stdout
    why = ("--reason", "x", "--yes")
    done = desk.run("dead-letters", "retry", "--projection", "ledger", *why)
    assert done.stdout == "asked for: 2, asked for before: 0\n"
