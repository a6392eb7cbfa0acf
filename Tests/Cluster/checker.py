"""Whether a history is one that Chronik may have: pure, from events to violations.

docs/history-format.md tells the events, and every rule by its name.
"""

import base64
import sys
from collections import defaultdict
from dataclasses import dataclass, field

import history as histories
import record_batches


@dataclass(frozen=True)
class Violation:
    rule: str
    what: str

    def __str__(self):
        return f"{self.rule}: {self.what}"


@dataclass
class Produce:
    """One record given to a producer, and what became of it."""

    process: str
    number: int
    topic: str
    key: str
    value: str
    partition: int | None = None
    outcome: str = "unknown"
    offset: int | None = None


@dataclass
class Replica:
    """What one node holds of one partition."""

    node: int
    low: int
    high: int
    batches: list = field(default_factory=list)
    # Offset to key and value, below the high watermark.
    records: dict = field(default_factory=dict)


class Checker:
    def __init__(self, events):
        self.events = events
        self.violations = []
        self.producers = {}
        self.produces = {}
        self.by_key = {}
        self.replicas = defaultdict(list)
        self.has_faults = any(event["op"] == "fault" for event in events)
        self.lost_with_acks_one = 0

    def violate(self, rule, what):
        self.violations.append(Violation(rule, what))

    def check(self):
        self.read_produces()
        self.read_replicas()
        for place, replicas in self.replicas.items():
            for replica in replicas:
                self.check_dense(place, replica)
                self.check_epochs(place, replica)
            self.check_equal(place, replicas)
        self.check_acknowledged()
        for (topic, partition), replicas in self.replicas.items():
            for replica in replicas:
                self.check_contents(topic, partition, replica)
        self.check_polls()
        self.check_watermarks()
        self.check_leaders()
        self.check_topics()
        self.check_commits()
        return self.violations

    # What the history says

    def read_produces(self):
        for event in self.events:
            if event["op"] == "producer":
                self.producers[event["process"]] = event
            elif event["op"] == "produce":
                self.read_produce(event)

    def read_produce(self, event):
        name = (event["process"], event["id"])
        if event["event"] == "invoke":
            produce = Produce(
                event["process"], event["id"], event["topic"], event["key"], event["value"],
                event.get("partition"),
            )
            if name in self.produces or event["key"] in self.by_key:
                self.violate("malformed history", f"{name} is there twice")
            self.produces[name] = self.by_key[event["key"]] = produce
            return
        produce = self.produces.get(name)
        if produce is None:
            self.violate("malformed history", f"{name} ended without having begun")
            return
        produce.outcome = event["event"]
        if event["event"] == "ok":
            produce.partition, produce.offset = event["partition"], event["offset"]

    def read_replicas(self):
        for event in self.events:
            if event["op"] != "replica":
                continue
            place = (event["topic"], event["partition"])
            replica = Replica(event["node"], event["low"], event["high"])
            self.replicas[place].append(replica)
            for encoded in event["batches"]:
                try:
                    batch = record_batches.parse(base64.b64decode(encoded))
                    replica.batches.append(batch)
                    if batch.is_control:
                        continue
                    for offset, key, value in batch.records():
                        if replica.low <= offset < replica.high:
                            pair = (histories.text(key), histories.text(value))
                            replica.records[offset] = pair
                except record_batches.Malformed as error:
                    self.violate("damaged batch", f"{name(place)} on node {replica.node}: {error}")

    # What replicas hold

    def check_dense(self, place, replica):
        """The batches follow each other without gap or overlap, from low to high."""
        where = f"{name(place)} on node {replica.node}"
        if replica.low > replica.high:
            self.violate("gap in offsets", f"{where} begins at {replica.low}, above its "
                         f"high watermark {replica.high}")
        expected = None
        for batch in replica.batches:
            if expected is None and not batch.base <= replica.low <= batch.last:
                self.violate("gap in offsets", f"{where} begins at {replica.low}, its first batch "
                             f"is {batch.base} to {batch.last}")
            elif expected is not None and batch.base != expected:
                self.violate("gap in offsets", f"{where} has a batch at {batch.base}, "
                             f"expected {expected}")
            expected = batch.last + 1
        end = replica.low if expected is None else expected
        if end < replica.high:
            self.violate("gap in offsets", f"{where} ends at {end}, below its high watermark "
                         f"{replica.high}")

    def check_epochs(self, place, replica):
        for before, after in zip(replica.batches, replica.batches[1:]):
            if after.epoch < before.epoch:
                self.violate("epoch going back", f"{name(place)} on node {replica.node}: epoch "
                             f"{after.epoch} at {after.base} after {before.epoch}")

    def check_equal(self, place, replicas):
        """Below both high watermarks, the same bytes at the same offsets."""
        if len({replica.high for replica in replicas}) > 1:
            highs = ", ".join(f"{r.high} on node {r.node}" for r in replicas)
            self.violate("replicas differ", f"{name(place)} has high watermarks {highs}")
        first = replicas[0]
        ours = {batch.base: batch for batch in first.batches}
        for other in replicas[1:]:
            low, high = max(first.low, other.low), min(first.high, other.high)
            theirs = {batch.base: batch for batch in other.batches}
            for base in sorted(ours.keys() | theirs.keys()):
                pair = (ours.get(base), theirs.get(base))
                spans = [batch for batch in pair if batch is not None]
                if not any(batch.last >= low and batch.base < high for batch in spans):
                    continue
                if None in pair or pair[0].raw != pair[1].raw:
                    self.violate("replicas differ", f"{name(place)} at {base}: node {first.node} "
                                 f"has {brief(pair[0])}, node {other.node} {brief(pair[1])}")
                    break

    # What was acknowledged, against what is there

    def check_acknowledged(self):
        for produce in self.produces.values():
            if produce.outcome != "ok":
                continue
            acks = str(self.producers.get(produce.process, {}).get("acks", "all"))
            if acks == "0" or produce.offset is None or produce.offset < 0:
                continue
            replicas = self.replicas.get((produce.topic, produce.partition))
            if replicas is None:
                continue
            for replica in replicas:
                if produce.offset < replica.low:
                    continue
                if replica.records.get(produce.offset) == (produce.key, produce.value):
                    continue
                if acks == "1" and self.has_faults:
                    self.lost_with_acks_one += 1
                else:
                    self.report_loss(produce, replica)
                break

    def report_loss(self, produce, replica):
        what = f"{produce.process}:{produce.number}"
        place = name((produce.topic, produce.partition))
        others = [offset for offset, pair in replica.records.items() if pair[0] == produce.key]
        at = "nowhere" if not others else f"at {', '.join(map(str, others))}"
        if others == [produce.offset]:
            at = "there with another value"
        self.violate("acknowledged record lost", f"{what} was acknowledged at offset "
                     f"{produce.offset} of {place}; on node {replica.node} it is {at}")

    def check_contents(self, topic, partition, replica):
        """No record that nobody sent, none twice, none out of order, where that was promised."""
        place = name((topic, partition))
        seen = {}
        newest = {}
        known = {produce.topic for produce in self.produces.values()}
        if topic not in known:
            return
        for offset, (key, value) in sorted(replica.records.items()):
            where = f"{place} on node {replica.node} at {offset}"
            produce = self.by_key.get(key)
            if produce is None or produce.topic != topic or (
                produce.partition not in (None, partition)
            ):
                self.violate("phantom record", f"{where}: nobody sent {key!r} there")
                continue
            if produce.value != value:
                self.violate("phantom record", f"{where}: {key!r} was sent with another value")
            if produce.outcome == "fail":
                self.violate("phantom record", f"{where}: {key!r} was refused")
            promises = self.producers.get(produce.process, {})
            if key in seen:
                if promises.get("idempotent"):
                    self.violate("duplicate", f"{where}: {key!r} is at {seen[key]} too")
                continue
            seen[key] = offset
            if promises.get("idempotent") or promises.get("ordered"):
                before = newest.get(produce.process, -1)
                if produce.number < before:
                    self.violate("reordering", f"{where}: {produce.process}:{produce.number} "
                                 f"comes after {before}")
                newest[produce.process] = max(before, produce.number)

    # What consumers and observers saw

    def check_polls(self):
        """A consumer reads on where it was, and only what is there for good."""
        positions = {}
        finals = {place: replicas[0] for place, replicas in self.replicas.items()}
        for event in self.events:
            if event["op"] == "assign":
                place = (event["topic"], event["partition"])
                positions[event["process"], place] = event["offset"]
            if event["op"] != "poll":
                continue
            place = (event["topic"], event["partition"])
            reader = (event["process"], place)
            for offset, key, value in event["records"]:
                expected = positions.get(reader)
                if expected is not None and offset != expected:
                    self.violate("poll out of order", f"{event['process']} read offset {offset} "
                                 f"of {name(place)}, expected {expected}")
                positions[reader] = offset + 1
                final = finals.get(place)
                if final is None or offset < final.low:
                    continue
                if final.records.get(offset) != (key, value):
                    self.violate("read record lost", f"{event['process']} read {key!r} at offset "
                                 f"{offset} of {name(place)}, where there is "
                                 f"{final.records.get(offset, ('nothing',))[0]!r}")

    def check_watermarks(self):
        """An observer of one node sees its high watermark and its log's start only grow."""
        newest = {}
        for event in self.events:
            if event["op"] != "watermark":
                continue
            place = (event["topic"], event["partition"])
            seen = (event["process"], event.get("node"), event.get("incarnation"), place)
            for edge in ("low", "high"):
                if event.get(edge) is None:
                    continue
                before = newest.get((*seen, edge), -1)
                if event[edge] < before:
                    self.violate("watermark going back", f"{edge} of {name(place)} went from "
                                 f"{before} to {event[edge]} for {event['process']}")
                newest[(*seen, edge)] = max(before, event[edge])

    def check_leaders(self):
        """One leader an epoch, whoever was asked."""
        leaders = {}
        for event in self.events:
            if event["op"] != "leader":
                continue
            place = (event["topic"], event["partition"])
            known = leaders.setdefault((place, event["epoch"]), event["node"])
            if known != event["node"]:
                self.violate("two leaders", f"nodes {known} and {event['node']} both led "
                             f"{name(place)} in epoch {event['epoch']}")

    def check_topics(self):
        created, expected, final = {}, {}, None
        for event in self.events:
            if event["op"] == "create_topic" and event["event"] == "ok":
                created[event["topic"]] = event
            elif event["op"] == "delete_topic":
                created.pop(event["topic"], None)
            elif event["op"] == "topics":
                final, expected = event["topics"], dict(created)
        if final is None:
            return
        for topic, event in expected.items():
            if topic not in final:
                self.violate("topic lost", f"{topic} was created and is not there")
            elif final[topic] != event["partitions"]:
                self.violate("topic lost", f"{topic} was created with {event['partitions']} "
                             f"partitions and has {final[topic]}")

    def check_commits(self):
        """What a group has committed at the end is its last commit, or one not answered since."""
        possible = defaultdict(set)
        for event in self.events:
            if event["op"] not in ("commit", "committed"):
                continue
            key = (event["group"], event["topic"], event["partition"])
            if event["op"] == "commit" and event["event"] == "ok":
                possible[key] = {event["offset"]}
            elif event["op"] == "commit" and event["event"] == "unknown":
                possible[key].add(event["offset"])
            elif event["op"] == "committed" and possible[key]:
                if event["offset"] not in possible[key]:
                    self.violate("committed offset lost", f"group {event['group']} is at "
                                 f"{event['offset']} of {name(key[1:])}, expected one of "
                                 f"{sorted(possible[key])}")


def name(place):
    return f"{place[0]}-{place[1]}"


def brief(batch):
    if batch is None:
        return "no batch"
    return f"{len(batch.raw)} bytes to {batch.last} of epoch {batch.epoch}"


def check(events):
    """Every violation of a history."""
    return Checker(events).check()


def main():
    if len(sys.argv) != 2:
        print("usage: checker.py HISTORY", file=sys.stderr)
        return 64
    checker = Checker(histories.read(sys.argv[1]))
    for violation in checker.check():
        print(violation)
    print(f"{len(checker.events)} events, {len(checker.produces)} records, "
          f"{len(checker.violations)} violations")
    return 1 if checker.violations else 0


if __name__ == "__main__":
    sys.exit(main())
