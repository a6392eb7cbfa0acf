"""Ports for servers that must know them before they listen, or again after a restart.

Below those that the system hands out by itself, to outgoing connections and to listeners on port 0: any
of these could have taken the port by the time its server starts. Each is held for this run, as a
datagram port, which no other run of the tests then gets.
"""

import pathlib
import random
import socket

RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000
held = []


def free_port():
    ceiling = max(int(RANGE.read_text().split()[0]), LOWEST + 10_000)
    while True:
        port = random.randrange(LOWEST, ceiling)
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind(("127.0.0.1", port))
            # Nobody may listen there, whatever it is.
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        held.append(holder)
        return port


def free_address():
    return f"127.0.0.1:{free_port()}"
