"""A chronik-server process of the test's own, on a port of its own, in a folder of its own."""

import os
import pathlib
import re
import select
import signal
import subprocess
import time

from ports import free_address, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = os.environ.get("CHRONIK_SERVER", str(ROOT / ".build/debug/chronik-server"))
START_SECONDS = 30
# The server refuses variables of its prefix that are no settings, such as those of these tests.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("CHRONIK_")}


class Broker:
    def __init__(self, data_dir, *options):
        self.data_dir = pathlib.Path(data_dir)
        self.options = options
        self.process = None
        self.port = free_port()
        self.admin_address = free_address()
        self.log = ""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def launch(self):
        """Starts the server's process, and waits for nothing."""
        self.process = subprocess.Popen(
            [
                SERVER,
                "standalone",
                "--listen-addr",
                f"127.0.0.1:{self.port}",
                "--data-dir",
                str(self.data_dir),
                "--admin-addr",
                self.admin_address,
                "--set",
                "group.initial.rebalance.delay.ms=0",
                *self.options,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        os.set_blocking(self.process.stderr.fileno(), False)
        self.log = ""

    def start(self):
        """Starts the server; the ports of the first start are kept for the later ones."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.read_log(deadline - time.monotonic())
            ready = re.search(r"ready for Kafka clients.* listen=\S+:(\d+)", self.log)
            if ready:
                self.port = int(ready.group(1))
                self.admin_address = re.search(r" admin=(\S+)", self.log).group(1)
                return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log}")

    def read_log(self, seconds=0):
        """What the server has written to standard error so far."""
        select.select([self.process.stderr], [], [], max(0, seconds))
        chunk = self.process.stderr.read()
        if chunk:
            self.log += chunk.decode(errors="replace")
        return self.log

    def kill(self):
        """As a crash would: no warning, no time."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """As an operator would; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=START_SECONDS)
        self.read_log()
        return code

    def restart(self):
        self.stop()
        return self.start()
