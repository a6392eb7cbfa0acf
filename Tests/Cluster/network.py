"""A network between nodes that loses, delays, doubles and reorders packets when it is told to.

Every node runs in a network namespace of its own and speaks to the others through a TUN device;
the far ends of these devices are held by one process, the switch, that passes packets on. No
kernel module beyond TUN is needed, and all of it is gone when the processes are.

Clients reach a node by a link apart from that, which can be taken down but is otherwise whole.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
# As wide as a real machine's; small enough that a lost packet is not all there is.
MTU = 9000
QUEUE_LIMIT = 10_000


class Unavailable(Exception):
    """Why there can be no namespaces here."""


def enter_namespace():
    """Moves this process, which must have no other threads, into a network of its own.

    So nothing here changes the machine's network, and no port is taken by anyone else.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if user == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise Unavailable(f"unshare: {os.strerror(ctypes.get_errno())}")
    if user != 0:
        for file, text in [("setgroups", "deny"), ("uid_map", f"0 {user} 1"),
                           ("gid_map", f"0 {group} 1")]:
            with open(f"/proc/self/{file}", "w", encoding="ascii") as out:
                out.write(text)
    try:
        run("ip", "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"ip: {error}") from error


def run(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


class Network:
    """Namespaces 1 to `count`, their links to each other and to this process."""

    # The interface names of this process are those of one network at a time.
    def __init__(self, count, seed=0):
        self.nodes = range(1, count + 1)
        self.holders = {}
        if not os.path.exists("/dev/net/tun"):
            raise Unavailable("there is no /dev/net/tun")
        self.switch = subprocess.Popen(
            [sys.executable, __file__, str(count), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        try:
            ready = self.switch.stdout.readline()
            if ready != "ready\n":
                raise Unavailable(f"no TUN devices: {ready.strip()}")
            for node in self.nodes:
                self.make_namespace(node)
        except subprocess.CalledProcessError as error:
            self.close()
            raise RuntimeError(f"{error}: {error.stderr}") from error
        except BaseException:
            self.close()
            raise

    def make_namespace(self, node):
        # The namespace lives as long as this process, which ends when we do.
        holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.holders[node] = holder
        ours = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/net") == ours:
            if holder.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("unshare --net does not work")
        run("ip", "link", "set", f"raft{node}", "netns", holder.pid)
        run("ip", "link", "add", f"client{node}", "type", "veth",
            "peer", "name", "clients", "netns", holder.pid)
        run("ip", "addr", "add", f"10.91.{node}.1/24", "dev", f"client{node}")
        run("ip", "link", "set", f"client{node}", "up")
        inside = self.prefix(node)
        for command in [
            ["ip", "link", "set", "lo", "up"],
            ["ip", "addr", "add", f"10.91.{node}.2/24", "dev", "clients"],
            ["ip", "link", "set", "clients", "up"],
            ["ip", "addr", "add", f"{self.raft_host(node)}/24", "dev", f"raft{node}"],
            ["ip", "link", "set", f"raft{node}", "mtu", str(MTU), "up"],
        ]:
            run(*inside, *command)

    def prefix(self, node):
        """What runs a command inside a node's namespace."""
        return ["nsenter", f"--net=/proc/{self.holders[node].pid}/ns/net"]

    def raft_host(self, node):
        return f"10.90.0.{node}"

    def client_host(self, node):
        return f"10.91.{node}.2"

    def tell(self, **rule):
        """Changes the links and returns once that is so."""
        self.switch.stdin.write(json.dumps(rule) + "\n")
        self.switch.stdin.flush()
        return json.loads(self.switch.stdout.readline())

    def link(self, source, target, **rule):
        """One way: `down`, `loss`, `duplicate`, `reorder` (shares of 1), `delay`, `jitter` (s)."""
        self.tell(links=[[source, target]], rule=rule)

    def every_link(self, **rule):
        self.tell(links=[[a, b] for a in self.nodes for b in self.nodes if a != b], rule=rule)

    def partition(self, *sides):
        """Nodes hear only those on their own side."""
        side = {node: number for number, nodes in enumerate(sides) for node in nodes}
        cut = [[a, b] for a in self.nodes for b in self.nodes if side.get(a) != side.get(b)]
        self.tell(links=cut, rule={"down": True})

    def heal(self):
        self.every_link()

    def counts(self):
        """Packets passed on, lost, doubled, delayed and reordered."""
        return self.tell(links=[], rule={})

    def clients_reach(self, node, reach):
        run("ip", "link", "set", f"client{node}", "up" if reach else "down")

    def close(self):
        for node in self.holders:
            # A namespace goes some time after its last process; the name is wanted before.
            subprocess.run(["ip", "link", "del", f"client{node}"], capture_output=True)
        for process in [self.switch, *self.holders.values()]:
            process.stdin.close()
        for process in [self.switch, *self.holders.values()]:
            process.wait(timeout=30)
        self.switch.stdout.close()


class Switch:
    """The process in the middle: packets in, packets out, some of them changed on the way."""

    def __init__(self, count, seed):
        self.random = random.Random(seed)
        self.devices = {node: open_tun(f"raft{node}") for node in range(1, count + 1)}
        self.rules = {}
        self.waiting = []
        self.sent = 0
        self.counts = dict.fromkeys(["passed", "lost", "doubled", "delayed", "reordered"], 0)

    def run(self):
        poll = select.epoll()
        nodes = {}
        for node, device in self.devices.items():
            os.set_blocking(device, False)
            poll.register(device, select.EPOLLIN)
            nodes[device] = node
        poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        while True:
            timeout = -1
            if self.waiting:
                timeout = max(0, self.waiting[0][0] - time.monotonic())
            for descriptor, _ in poll.poll(timeout):
                if descriptor == sys.stdin.fileno():
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.obey(json.loads(line))
                else:
                    self.drain(nodes[descriptor], descriptor)
            now = time.monotonic()
            while self.waiting and self.waiting[0][0] <= now:
                _, _, target, packet = heapq.heappop(self.waiting)
                self.pass_on(target, packet)

    def obey(self, command):
        rule = command["rule"]
        for source, target in command["links"]:
            if rule:
                self.rules[source, target] = rule
            else:
                self.rules.pop((source, target), None)
        print(json.dumps(self.counts), flush=True)

    def drain(self, source, descriptor):
        for _ in range(64):
            try:
                packet = os.read(descriptor, 65536)
            except BlockingIOError:
                return
            except OSError:
                # The device is not up yet.
                return
            # The last byte of an IPv4 destination is the node.
            if len(packet) >= 20 and packet[0] >> 4 == 4 and packet[19] in self.devices:
                self.route(source, packet[19], packet)

    def route(self, source, target, packet):
        rule = self.rules.get((source, target))
        if rule is None:
            self.pass_on(target, packet)
            return
        chance = self.random.random
        if rule.get("down") or chance() < rule.get("loss", 0):
            self.counts["lost"] += 1
            return
        copies = 1
        if chance() < rule.get("duplicate", 0):
            self.counts["doubled"] += 1
            copies = 2
        for _ in range(copies):
            delay = rule.get("delay", 0) + chance() * rule.get("jitter", 0)
            if chance() < rule.get("reorder", 0):
                # Held back until others have overtaken it.
                delay += 0.001 + chance() * 0.01
                self.counts["reordered"] += 1
            if delay == 0:
                self.pass_on(target, packet)
            elif len(self.waiting) < QUEUE_LIMIT:
                self.sent += 1
                self.counts["delayed"] += 1
                due = time.monotonic() + delay
                heapq.heappush(self.waiting, (due, self.sent, target, packet))
            else:
                self.counts["lost"] += 1

    def pass_on(self, target, packet):
        try:
            os.write(self.devices[target], packet)
            self.counts["passed"] += 1
        except OSError:
            # The device is down or full: a network loses such packets.
            self.counts["lost"] += 1


def open_tun(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def main():
    try:
        switch = Switch(int(sys.argv[1]), int(sys.argv[2]))
    except OSError as error:
        print(error, flush=True)
        return 1
    print("ready", flush=True)
    switch.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
