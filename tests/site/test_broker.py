"""The queue folder: a worker never sees half a message."""

import threading
from pathlib import Path
from queue import Empty

from kombu import Connection

from hospintel_site import broker

MESSAGES = 1500


def _connection(folder: Path) -> Connection:
    broker.register()
    for name in ("messages", "control"):
        (folder / name).mkdir(exist_ok=True)
    options = {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
    }
    return Connection(f"{broker.SCHEME}://localhost", transport_options=options)


def test_a_reader_beside_a_writer_gets_every_message_whole(tmp_path: Path) -> None:
    with _connection(tmp_path) as out, _connection(tmp_path) as into:
        writer, reader = out.default_channel, into.default_channel

        def write() -> None:
            for number in range(MESSAGES):
                writer._put("default", {"number": number, "padding": "x" * 2000})

        thread = threading.Thread(target=write)
        thread.start()
        got: list[int] = []
        while thread.is_alive() or len(got) < MESSAGES:
            try:
                got.append(reader._get("default")["number"])
            except Empty:
                if not thread.is_alive() and not list((tmp_path / "messages").iterdir()):
                    break
        thread.join()
    assert sorted(got) == list(range(MESSAGES))


def test_a_message_of_another_queue_is_left_alone(tmp_path: Path) -> None:
    with _connection(tmp_path) as connection:
        channel = connection.default_channel
        channel._put("training", {"number": 1})
        try:
            channel._get("default")
        except Empty:
            pass
        else:
            raise AssertionError("took a message of another queue")
        assert channel._get("training") == {"number": 1}
