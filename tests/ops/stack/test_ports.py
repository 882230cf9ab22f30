import socket
from pathlib import Path

import pytest

from ops.stack import ports


def test_a_chosen_port_is_free_and_no_client_can_be_given_it():
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = ports.choose()
    assert ports.free(port)
    assert port < lowest_ephemeral


def test_a_port_that_is_listened_on_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports.free(server.getsockname()[1])
        assert not ports.free_within(server.getsockname()[1], 0.05)


def test_a_taken_port_is_not_chosen(monkeypatch):
    offered = iter([20_001, 20_002])
    monkeypatch.setattr(ports.random, "randint", lambda *_: next(offered))
    monkeypatch.setattr(ports, "free", lambda _port: True)
    assert ports.choose({20_001}) == 20_002


def test_the_search_for_a_port_is_bounded(monkeypatch):
    monkeypatch.setattr(ports, "free", lambda _port: False)
    with pytest.raises(OSError, match=f"no free port .*: {ports.TRIES}"):
        ports.choose()
