"""The checker passes what is right, and names each wrong that is planted."""

import base64
import json
import subprocess
import sys

import pytest

import checker
import history
import record_batches
from history import History


def rules(events):
    return {violation.rule for violation in checker.check(events)}


class Story:
    """A right history of two producers and three replicas, to plant a wrong into."""

    def __init__(self):
        self.history = History()
        self.logs = {node: [] for node in (1, 2, 3)}
        self.next = 0
        add = self.history.add
        add("producer", process="p1", acks="all", idempotent=True)
        add("producer", process="p2", acks="1", idempotent=False)
        add("create_topic", event="ok", topic="t", partitions=1)
        for number in range(6):
            self.produce("p1", number, epoch=1 if number < 3 else 2)
        self.produce("p2", 0, epoch=2)

    def invoke(self, process, number):
        key, value = f"{process}:{number}", f"value {number}"
        self.history.add("produce", event="invoke", process=process, id=number, topic="t",
                         partition=0, key=key, value=value)
        return key.encode(), value.encode()

    def produce(self, process, number, epoch):
        key, value = self.invoke(process, number)
        raw = record_batches.encode(self.next, [value], epoch=epoch, key=key)
        for log in self.logs.values():
            log.append(raw)
        self.history.add("produce", event="ok", process=process, id=number, partition=0,
                         offset=self.next)
        self.next += 1

    def poll(self, offsets, process="c"):
        records = []
        for offset in offsets:
            (batch,) = [b for b in map(record_batches.parse, self.logs[1]) if b.base == offset]
            ((_, key, value),) = batch.records()
            records.append([offset, key.decode(), value.decode()])
        self.history.add("poll", process=process, topic="t", partition=0, records=records)

    def end(self, low=0, high=None):
        for node, log in self.logs.items():
            self.history.replica(node, "t", 0, low, self.next if high is None else high, log)
        self.history.add("topics", topics={"t": 1})
        return self.history.events

    def each(self, change):
        for log in self.logs.values():
            change(log)


def rebased(raw, base, epoch=None):
    batch = record_batches.parse(raw)
    ((_, key, value),) = batch.records()
    return record_batches.encode(base, [value], epoch=epoch or batch.epoch, key=key)


def test_a_right_history_passes():
    story = Story()
    story.history.add("assign", process="c", topic="t", partition=0, offset=0)
    story.poll([0, 1, 2])
    story.poll([3, 4])
    for high in (0, 3, 3, 7):
        story.history.add("watermark", process="w", node=1, topic="t", partition=0, low=0,
                          high=high)
    for epoch, node in [(1, 1), (2, 3), (1, 1)]:
        story.history.add("leader", node=node, topic="t", partition=0, epoch=epoch)
    assert checker.check(story.end()) == []


def test_a_lost_record_is_found():
    story = Story()

    def lose(log):
        del log[2]
        log[2:] = [rebased(raw, 2 + index) for index, raw in enumerate(log[2:])]

    story.each(lose)
    story.next -= 1
    found = checker.check(story.end())
    assert {violation.rule for violation in found} == {"acknowledged record lost"}
    assert any("p1:2 was acknowledged at offset 2" in str(v) and "nowhere" in str(v) for v in found)


def test_a_lost_tail_is_found():
    story = Story()
    story.each(lambda log: log.pop())
    story.each(lambda log: log.pop())
    story.next -= 2
    assert rules(story.end()) == {"acknowledged record lost"}


def test_a_record_lost_on_one_replica_is_found():
    story = Story()
    story.logs[3].pop(3)
    assert rules(story.end()) >= {"gap in offsets", "replicas differ", "acknowledged record lost"}


def test_what_acks_one_may_lose_is_lost_only_with_a_fault():
    for fault, expected in [(False, {"acknowledged record lost"}), (True, set())]:
        story = Story()
        story.each(lambda log: log.pop())
        story.next -= 1
        if fault:
            story.history.add("fault", fault="kill", node=1)
        assert rules(story.end()) == expected


def test_a_duplicate_is_found():
    story = Story()
    story.each(lambda log: log.append(rebased(log[4], 7)))
    story.next += 1
    assert "duplicate" in rules(story.end())
    # Nobody promised the other producer anything.
    story = Story()
    story.each(lambda log: log.append(rebased(log[6], 7)))
    story.next += 1
    assert rules(story.end()) == set()


def test_reordering_is_found():
    story = Story()
    for number in (7, 6):
        story.produce("p1", number, epoch=2)
    assert rules(story.end()) == {"reordering"}


def test_divergence_is_found():
    story = Story()
    story.logs[2][3] = rebased(story.logs[2][3], 3, epoch=1)
    assert rules(story.end()) == {"replicas differ"}
    # Two records exchanged on one replica.
    story = Story()
    log = story.logs[2]
    log[0], log[1] = rebased(log[1], 0), rebased(log[0], 1)
    assert "replicas differ" in rules(story.end())


def test_the_same_records_cut_otherwise_into_batches_are_found():
    story = Story()
    key = None
    for log in story.logs.values():
        for base in (7, 8):
            log.append(record_batches.encode(base, [b"x"], epoch=2, key=key))
    story.logs[3][-2:] = [record_batches.encode(7, [b"x", b"x"], epoch=2, key=key)]
    story.next += 2
    assert "replicas differ" in rules(story.end())


def test_a_high_watermark_that_stays_behind_is_found():
    story = Story()
    events = story.end()
    [e for e in events if e["op"] == "replica"][2]["high"] = 5
    assert "replicas differ" in rules(events)


def test_a_gap_in_offsets_is_found():
    story = Story()
    story.each(lambda log: log.append(record_batches.encode(9, [b"v"], epoch=2, key=b"k")))
    assert "gap in offsets" in rules(story.end(high=10))
    story = Story()
    assert "gap in offsets" in rules(story.end(high=9))


def test_an_epoch_that_goes_back_is_found():
    story = Story()
    story.produce("p1", 6, epoch=1)
    assert rules(story.end()) == {"epoch going back"}


def test_a_phantom_record_is_found():
    story = Story()
    phantom = record_batches.encode(7, [b"v"], epoch=2, key=b"p9:1")
    story.each(lambda log: log.append(phantom))
    story.next += 1
    assert rules(story.end()) == {"phantom record"}


def test_a_refused_record_must_not_be_there_and_one_without_answer_may():
    for outcome, expected in [("fail", {"phantom record"}), ("unknown", set()), (None, set())]:
        story = Story()
        key, value = story.invoke("p1", 6)
        raw = record_batches.encode(7, [value], epoch=2, key=key)
        story.each(lambda log: log.append(raw))
        story.next += 1
        if outcome:
            story.history.add("produce", event=outcome, process="p1", id=6)
        assert rules(story.end()) == expected


def test_another_value_is_found():
    story = Story()
    story.invoke("p1", 6)
    story.each(lambda log: log.append(record_batches.encode(7, [b"?"], epoch=2, key=b"p1:6")))
    story.next += 1
    assert rules(story.end()) == {"phantom record"}


def test_a_damaged_batch_is_found():
    story = Story()
    raw = bytearray(story.logs[1][5])
    raw[-3] ^= 1
    story.logs[1][5] = bytes(raw)
    found = rules(story.end())
    assert "damaged batch" in found and "replicas differ" in found


@pytest.mark.parametrize("offsets", [[0, 2], [1, 1], [3, 2]])
def test_polls_that_skip_or_go_back_are_found(offsets):
    story = Story()
    story.poll(offsets)
    assert rules(story.end()) == {"poll out of order"}


def test_a_consumer_that_is_assigned_anew_may_go_back():
    story = Story()
    story.poll([0, 1, 2])
    story.history.add("assign", process="c", topic="t", partition=0, offset=1)
    story.poll([1, 2])
    assert rules(story.end()) == set()


def test_a_record_that_was_read_and_is_gone_is_found():
    story = Story()
    story.poll([6])
    story.each(lambda log: log.pop())
    story.next -= 1
    story.history.add("fault", fault="kill", node=1)
    assert rules(story.end()) == {"read record lost"}


def test_watermarks_that_go_back_are_found():
    for edge in ("low", "high"):
        story = Story()
        for mark in (5, 4):
            story.history.add("watermark", process="w", node=1, topic="t", partition=0,
                              **{edge: mark})
        assert rules(story.end()) == {"watermark going back"}


def test_two_leaders_of_an_epoch_are_found():
    story = Story()
    for node in (1, 2):
        story.history.add("leader", node=node, topic="t", partition=0, epoch=2)
    assert rules(story.end()) == {"two leaders"}


def test_a_lost_topic_is_found():
    story = Story()
    story.history.add("create_topic", event="ok", topic="gone", partitions=3)
    story.history.add("create_topic", event="unknown", topic="perhaps", partitions=3)
    assert rules(story.end()) == {"topic lost"}


def test_a_lost_commit_is_found():
    for final, expected in [(9, set()), (12, set()), (5, {"committed offset lost"})]:
        story = Story()
        place = {"group": "g", "topic": "t", "partition": 0}
        story.history.add("commit", event="ok", offset=5, **place)
        story.history.add("commit", event="ok", offset=9, **place)
        story.history.add("commit", event="unknown", offset=12, **place)
        story.history.add("committed", offset=final, **place)
        assert rules(story.end()) == expected


def test_what_retention_deleted_is_not_missed():
    story = Story()
    story.each(lambda log: log.__delitem__(slice(0, 3)))
    assert rules(story.end(low=3)) == set()


def test_a_history_survives_its_file(tmp_path):
    path = tmp_path / "history.jsonl"
    story = Story()
    story.history.file = open(path, "w")
    story.produce("p1", 6, epoch=2)
    story.end()
    story.history.close()
    assert history.read(path) == story.history.events[-len(history.read(path)) :]
    # A crash in the middle of a line.
    whole = path.read_text()
    path.write_text(whole + whole[:30])
    assert len(history.read(path)) == whole.count("\n")


def test_the_checker_is_a_program(tmp_path):
    story = Story()
    story.each(lambda log: log.pop())
    story.next -= 1
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in story.end()))
    done = subprocess.run([sys.executable, checker.__file__, path], capture_output=True, text=True)
    assert done.returncode == 1 and "acknowledged record lost: p2:0" in done.stdout


def test_values_of_any_bytes_have_a_text_of_their_own():
    values = [None, b"", b"a", b"\xff", b"x" * 300, b"x" * 301, b"base64:/w==", b"sha256:1"]
    assert len({history.text(value) for value in values}) == len(values)
    assert history.text(b"\xff") == "base64:" + base64.b64encode(b"\xff").decode()


def test_batches_are_read_as_they_are_written():
    values = [b"", b"1", b"x" * 1_000_000, None]
    raw = record_batches.encode(41, values, epoch=7, key=b"k")
    (batch,) = record_batches.split(raw + raw[:-1])
    assert (batch.base, batch.last, batch.epoch, batch.raw) == (41, 44, 7, raw)
    assert batch.records() == [(41 + n, b"k", value) for n, value in enumerate(values)]
    for wrong in range(16, len(raw), len(raw) // 50):
        torn = bytearray(raw)
        torn[wrong] ^= 0x10
        with pytest.raises(record_batches.Malformed):
            record_batches.parse(torn)
