"""A storage that speaks S3, as a process: moto's server, or the one that runs at HOSPINTEL_TEST_S3_ENDPOINT.

A relay stands before it, which a test may close: to the hub the storage is away then.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import uuid4

import boto3

from hospintel_site import ports
from hospintel_site.env import S3

HOST = "127.0.0.1"
# Named where another server is to be used, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that it knows.
ELSEWHERE = "HOSPINTEL_TEST_S3_ENDPOINT"
PATIENCE_SECONDS = 120


class S3Server:
    """A server with as many buckets as there are tests."""

    def __init__(self):
        self._process = None
        self.endpoint = os.environ.get(ELSEWHERE) or self._start()
        self.keys = {
            "access_key": os.environ.get("AWS_ACCESS_KEY_ID", "hospintel"),
            "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY", "only for tests"),
        }
        self.admin = boto3.session.Session(
            aws_access_key_id=self.keys["access_key"],
            aws_secret_access_key=self.keys["secret_key"],
            region_name="us-east-1",
        ).client("s3", endpoint_url=self.endpoint)

    def _start(self):
        port = ports.any_free(HOST)
        main = f"from moto.server import main; main(['-H', '{HOST}', '-p', '{port}'])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", main], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        endpoint, deadline = f"http://{HOST}:{port}", time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=PATIENCE_SECONDS).close()
            except OSError:
                assert time.monotonic() < deadline, "moto's server does not start"
                time.sleep(0.05)
            else:
                return endpoint

    def bucket(self, prefix="a/hub/"):
        """A new bucket, as the hub's settings name one."""
        name = f"hub-{uuid4().hex}"
        self.admin.create_bucket(Bucket=name)
        return S3(name, prefix, self.endpoint, "us-east-1", session_token="", **self.keys)

    @contextmanager
    def strict(self):
        """Look at credentials, which moto's server does when it is told to."""
        if self._process is None:
            yield
            return
        self._look_at_credentials_after("0")
        try:
            yield
        finally:
            self._look_at_credentials_after("inf")

    def _look_at_credentials_after(self, calls):
        call = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", calls.encode(), method="POST")
        call.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(call, timeout=PATIENCE_SECONDS).close()

    def close(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)


class Relay:
    """Passes bytes to a server and back, until it is closed; what is open then is cut."""

    def __init__(self, place: S3):
        host, _, port = place.endpoint.rpartition("//")[2].partition(":")
        self._target = host, int(port)
        self.port = ports.any_free(HOST)
        self.place = replace(place, endpoint=f"http://{HOST}:{self.port}")
        self._open = []
        self.back()

    def away(self):
        """Answer nobody."""
        # A thread that waits in accept() would go on doing so.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def back(self):
        """Answer again."""
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source, sink):
        with suppress(OSError):
            while block := source.recv(1 << 16):
                sink.sendall(block)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
