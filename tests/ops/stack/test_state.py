from pathlib import Path

import pytest

from ops.stack.errors import StackFailed
from ops.stack.processes import Process
from ops.stack.state import (
    FILE,
    KafkaServer,
    PostgresServer,
    RegistryServer,
    StackState,
    read,
    update,
    write,
)

FULL = StackState(
    kafka=KafkaServer(port=1, controller_port=2, cluster_id="c"),
    registry=RegistryServer(port=3),
    postgres=PostgresServer(port=4, folder=Path("/f"), password_file=Path("/p")),
    ports={"mllp": 5, "http": 6},
    processes=(Process(name="kafka", pid=7, started="b:8"),),
)


def test_a_state_is_read_as_it_was_written(tmp_path):
    for state in (FULL, StackState()):
        write(tmp_path, state)
        assert read(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_home_without_a_stack_has_an_empty_state(tmp_path):
    assert read(tmp_path / "nowhere") == StackState()


@pytest.mark.parametrize("text", ["", "{", '{"version": 1}', '{"version": 99}', "[]"])
def test_a_damaged_state_is_one_line_that_names_the_file(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StackFailed, match=rf"^the stack's state .* anew\): {tmp_path / FILE}$"):
        read(tmp_path)


def test_a_process_takes_the_place_of_its_namesake(tmp_path):
    write(tmp_path, FULL)
    worker = Process(name="worker", pid=9, started="b:10")
    again = Process(name="kafka", pid=11, started="b:12")
    state = update(tmp_path, lambda state: state.with_process(worker).with_process(again))
    assert state.processes == (worker, again)
    assert read(tmp_path) == state
    assert state.without("worker").processes == (again,)
    assert not state.running("kafka")


def test_addresses_name_neither_role_nor_secret(tmp_path):
    server = PostgresServer(port=4, folder=tmp_path, password_file=tmp_path / "password")
    server.password_file.write_text("a/secret\n")
    assert server.url == "postgresql://127.0.0.1:4/wardtrail"
    assert server.superuser_url("x") == "postgresql://postgres:a%2Fsecret@127.0.0.1:4/x"
