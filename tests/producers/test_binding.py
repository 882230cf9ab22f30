"""Which feed of a port a message belongs to."""

from dataclasses import replace
from uuid import UUID

import pytest

from producers import binding, intake
from producers.binding import Mismatch, bind, fingerprint
from producers.peek import NoHeader, peek
from producers.ports import KeysAway

SHOWN = fingerprint(b"certificate")


def header(sender="LAB", facility="NORTH", application="WT", receiver="CITY"):
    parties = f"MSH|^~\\&|{sender}|{facility}|{application}|{receiver}|1||"
    return peek(f"{parties}ADT^A01|9|P|2.5".encode())


@pytest.fixture
def bound(feed):
    return replace(
        feed, senders=frozenset({"LAB"}), facilities=frozenset({"NORTH"}),
        receiving_applications=frozenset({"WT"}), receiving_facilities=frozenset({"CITY"}),
        certificates=frozenset({SHOWN}),
    )  # fmt: skip


def test_a_message_that_fits_in_all_is_the_feeds(bound):
    assert bind(header(), [bound], SHOWN) is bound
    assert bind(header(sender="LAB^1.2.3^ISO"), [bound], SHOWN) is bound


@pytest.mark.parametrize(
    ("said", "shown", "cause", "field"),
    [
        ({"sender": "XRAY"}, SHOWN, binding.SENDER, 3),
        ({"facility": "SOUTH"}, SHOWN, binding.FACILITY, 4),
        ({"application": "OTHER"}, SHOWN, binding.RECEIVER, 5),
        ({"receiver": "TOWN"}, SHOWN, binding.RECEIVER, 6),
        ({}, fingerprint(b"another"), binding.CERTIFICATE, None),
        ({}, None, binding.CERTIFICATE, None),
    ],
)
def test_each_mismatch_is_told_by_what_it_is(bound, said, shown, cause, field):
    mismatch = Mismatch(cause=cause, feed=bound, field=field)
    assert bind(header(**said), [bound], shown) == mismatch


def test_a_feed_that_asks_for_nothing_takes_any_sender(feed):
    assert bind(header(sender="", facility=""), [feed], None) is feed
    assert bind(NoHeader(3), [feed], None) is feed


def test_several_feeds_of_a_port_are_told_apart_by_sender_and_facility(feed):
    north = replace(feed, feed_id=UUID(int=1), facilities=frozenset({"NORTH"}))
    south = replace(feed, feed_id=UUID(int=2), facilities=frozenset({"SOUTH"}))
    assert bind(header(), [north, south], None) is north
    assert bind(header(facility="SOUTH"), [north, south], None) is south
    none = Mismatch(cause=binding.NO_FIT, feed=None)
    assert bind(header(facility="WEST"), [north, south], None) == none


def test_a_message_that_fits_two_feeds_is_nobodys(feed):
    both = [feed, replace(feed, feed_id=UUID(int=1))]
    assert bind(header(), both, None) == Mismatch(cause=binding.SEVERAL_FIT, feed=None)


def test_a_paused_feed_and_one_of_a_suspended_tenant_take_nothing(feed):
    paused = intake.admit(header(), [replace(feed, active=False)])
    suspended = intake.admit(header(), [replace(feed, suspended=True, refusal_answer="AE")])
    assert (paused.cause, paused.answer, paused.trouble.passes) == ("no feed", "AR", True)
    assert (suspended.cause, suspended.answer) == ("suspended", "AE")


class Feeds:
    def __init__(self, feeds, keys):
        self._feeds, self._keys = feeds, keys

    def by_port(self, port):
        return self._feeds

    def keys(self, tenant_id):
        if self._keys is None:
            raise KeysAway("away")
        return self._keys


def test_what_is_recorded_of_a_refusal_holds_no_name(bound, keys):
    rejection = intake.admit(header(sender="DOE^JANE"), [bound], SHOWN)
    told = intake.refused(rejection, header(sender="DOE^JANE"), 7, Feeds([bound], keys))
    assert (told.port, told.reason, told.tenant_id, told.feed_id) == (
        7, "sender", bound.tenant_id, bound.feed_id,
    )  # fmt: skip
    assert told.sender_hmac == intake.sender_hmac(keys.identity, "DOE^JANE", "NORTH")
    assert "DOE" not in repr(told)


def test_a_refusal_is_no_tenants_where_the_port_is_several(bound, keys):
    other = replace(bound, feed_id=UUID(int=1), tenant_id=UUID(int=2))
    rejection = intake.admit(header(sender="XRAY"), [bound, other], SHOWN)
    told = intake.refused(rejection, header(sender="XRAY"), 7, Feeds([bound, other], keys))
    assert (told.tenant_id, told.feed_id, told.sender_hmac) == (None, None, None)


def test_a_refusal_is_counted_without_its_sender_while_keys_are_away(bound):
    rejection = intake.admit(header(sender="XRAY"), [bound], SHOWN)
    told = intake.refused(rejection, header(sender="XRAY"), 7, Feeds([bound], None))
    assert (told.tenant_id, told.sender_hmac) == (bound.tenant_id, None)
