"""The bad line does what it says, in front of a service that answers everything with itself."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from fault_proxy import FaultProxy, Weather

TEXT = bytes(range(256)) * 40


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of the service."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                while data := client.recv(4096):
                    client.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=serve, args=(server.accept()[0],)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join()


def talk(proxy: FaultProxy, text: bytes = TEXT) -> tuple[bytes, float]:
    """What came back, and after how many seconds; ConnectionError where the line broke."""
    began, found = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as line:
        line.sendall(text)
        while len(found) < len(text) and (data := line.recv(65536)):
            found += data
    return found, time.monotonic() - began


@pytest.mark.parametrize("weather", [Weather(), Weather(slices=7), Weather(latency=0.05, jitter=0.04)])
def test_what_is_not_cut_arrives_whole_and_in_order(echo: int, weather: Weather) -> None:
    with FaultProxy(echo, weather) as proxy:
        assert talk(proxy)[0] == TEXT


def test_latency_and_bandwidth_take_their_time(echo: int) -> None:
    with FaultProxy(echo, Weather(latency=0.2)) as proxy:
        assert talk(proxy, b"a")[1] >= 0.4
        proxy.become(Weather(slow=1.0, rate=2000))
        assert talk(proxy, b"a" * 1000)[1] >= 0.5


def test_a_cut_breaks_every_line_before_all_has_come(echo: int) -> None:
    with FaultProxy(echo, Weather(cut=1.0, up=len(TEXT), down=len(TEXT))) as proxy:
        for _ in range(8):
            with pytest.raises(ConnectionError):
                talk(proxy)
        assert proxy.happened["cut"] == 8


def test_one_end_of_a_lost_line_is_never_told(echo: int) -> None:
    told = []
    with FaultProxy(echo, Weather(lost=1.0, up=1, down=1)) as proxy:
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as line:
                line.sendall(TEXT)
                try:
                    told.append(line.recv(1) == b"")
                except TimeoutError:
                    told.append(False)
                except ConnectionError:
                    told.append(True)
    assert set(told) == {True, False}


def test_silence_passes_and_nothing_is_lost(echo: int) -> None:
    with FaultProxy(echo) as proxy:
        proxy.silence(0.5)
        found, seconds = talk(proxy)
        assert (found, seconds >= 0.5) == (TEXT, True)
        proxy.become(Weather(hole=1.0, hole_seconds=0.5, up=100, down=100))
        found, seconds = talk(proxy)
        assert (found, seconds >= 0.5) == (TEXT, True)


def test_a_service_that_is_not_there_resets(echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with FaultProxy(port) as proxy, pytest.raises(ConnectionError):
        talk(proxy, b"a")
