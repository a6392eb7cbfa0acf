"""A history: what clients did, what was done to the cluster, and what every replica holds.

One JSON object a line, in the order things happened; docs/history-format.md tells the fields.
"""

import base64
import hashlib
import json
import threading
import time

LONG = 256


class History:
    """Collects events from any thread; writes them to a file as they come, if there is one."""

    def __init__(self, path=None):
        self.events = []
        self.lock = threading.Lock()
        self.path = path
        self.file = open(path, "a", encoding="utf-8") if path else None

    def add(self, op, **fields):
        with self.lock:
            event = {"time": time.monotonic_ns(), "op": op, **fields}
            self.events.append(event)
            if self.file:
                self.file.write(json.dumps(event) + "\n")
        return event

    def flush(self):
        with self.lock:
            if self.file:
                self.file.flush()

    def close(self):
        with self.lock:
            if self.file:
                self.file.close()
                self.file = None

    def count(self, op, event=None):
        with self.lock:
            return sum(e["op"] == op and event in (None, e.get("event")) for e in self.events)

    def replica(self, node, topic, partition, low, high, batches):
        """What a node holds of a partition; `batches` are the raw ones."""
        encoded = [base64.b64encode(raw).decode() for raw in batches]
        self.add("replica", node=node, topic=topic, partition=partition, low=low, high=high,
                 batches=encoded)


def read(path):
    """The events of a file; a last line that was cut by a crash is left out."""
    events = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                events.append(json.loads(line))
    return events


def text(value):
    """A key or value as a history writes it.

    Text when it is UTF-8, else `base64:` and its bytes; `sha256:`, the digest and the length when
    it is long.
    """
    if value is None:
        return None
    if len(value) > LONG:
        return f"sha256:{hashlib.sha256(value).hexdigest()}:{len(value)}"
    try:
        decoded = value.decode()
        if not decoded.startswith(("base64:", "sha256:")):
            return decoded
    except UnicodeDecodeError:
        pass
    return "base64:" + base64.b64encode(value).decode()
