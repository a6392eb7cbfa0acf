import Bytes
import KafkaProtocol
import Testing

@testable import KafkaHistory

/// The checker passes what is right, and names each wrong that is planted.
@Suite struct HistoryCheckerTests {
    @Test func `a right history passes`() {
        var story = Story()
        story.add(.assign(process: "c", Story.place, offset: 0))
        story.poll([0, 1, 2])
        story.poll([3, 4, 5, 6])
        story.add(.finished(process: "c", Story.place))
        for high: Int64 in [0, 3, 3, 7] {
            story.add(
                .watermark(
                    process: "w",
                    node: 1,
                    incarnation: 1,
                    Story.place,
                    low: 0,
                    high: high
                )
            )
        }
        for (epoch, node) in [(1, 1), (2, 3), (1, 1)] {
            story.add(.leader(node: Int32(node), Story.place, epoch: Int32(epoch)))
        }
        story.add(.durable(process: "p1", id: 1, nodes: 2, replicas: 3))
        #expect(story.violations() == [])
    }

    @Test func `a lost record is found`() {
        var story = Story()
        story.each { log in
            log.remove(at: 2)
            Story.renumber(&log, from: 2, by: -1)
        }
        let found = story.violations(high: 6)
        #expect(Set(found.map(\.rule)) == [.acknowledgedRecordLost])
        #expect(found.contains { $0.what.contains("p1:2 was acknowledged at offset 2") })
    }

    @Test func `a lost tail is found`() {
        var story = Story()
        story.each { $0.removeLast(2) }
        #expect(story.rules(high: 5) == [.acknowledgedRecordLost])
    }

    @Test func `what acks one may lose is lost only with a fault`() {
        for hasFault in [false, true] {
            var story = Story()
            story.each { $0.removeLast() }
            if hasFault { story.add(.fault("kill")) }
            #expect(story.rules(high: 6) == (hasFault ? [] : [.acknowledgedRecordLost]))
        }
    }

    @Test func `a duplicate of an idempotent producer is found`() {
        var story = Story()
        story.each { $0.append(Story.batch("p1:4", "value 4", at: 7, epoch: 2)) }
        #expect(story.rules(high: 8) == [.duplicate])
    }

    @Test func `records out of order are found`() {
        var story = Story()
        story.send("p1", 6)
        story.send("p1", 7)
        story.each {
            $0.append(Story.batch("p1:7", "value 7", at: 7, epoch: 2))
            $0.append(Story.batch("p1:6", "value 6", at: 8, epoch: 2))
        }
        #expect(story.rules(high: 9) == [.reordering])
    }

    @Test func `a record that nobody sent is found`() {
        var story = Story()
        story.each { $0.append(Story.batch("p9:1", "value", at: 7, epoch: 2)) }
        #expect(story.rules(high: 8) == [.phantomRecord])
    }

    @Test func `another value than was sent is found`() {
        var story = Story()
        story.send("p1", 6)
        story.each { $0.append(Story.batch("p1:6", "another", at: 7, epoch: 2)) }
        #expect(story.rules(high: 8) == [.phantomRecord])
    }

    @Test func `a record that was refused is found`() {
        var story = Story()
        story.send("p1", 6)
        story.add(.sent(.fail, process: "p1", id: 6, partition: 0, offset: -1))
        story.each { $0.append(Story.batch("p1:6", "value 6", at: 7, epoch: 2)) }
        #expect(story.rules(high: 8) == [.phantomRecord])
    }

    @Test func `two records acknowledged at one offset are found`() {
        var story = Story()
        story.send("p3", 0)
        story.acknowledge("p3", 0, at: 2)
        #expect(story.rules().contains(.inconsistentOffset))
    }

    @Test func `sends acknowledged out of order are found`() {
        var story = Story()
        story.send("p1", 6)
        story.acknowledge("p1", 6, at: 1)
        #expect(story.rules().contains(.sendOutOfOrder))
    }

    @Test func `a gap is found`() {
        var story = Story()
        story.each { Story.renumber(&$0, from: 6, by: 1) }
        #expect(story.rules(high: 8).contains(.gapInOffsets))
    }

    @Test func `replicas that differ are found`() {
        var story = Story()
        story.logs[1][3] = Story.batch("p1:3", "value 3", at: 3, epoch: 3)
        #expect(story.rules().contains(.replicasDiffer))
        var shorter = Story()
        shorter.logs[2].removeLast()
        #expect(shorter.rules().contains(.replicasDiffer))
    }

    @Test func `an epoch that goes back is found`() {
        var story = Story()
        story.each { $0[6] = Story.batch("p2:0", "value 0", at: 6, epoch: 1) }
        #expect(story.rules() == [.epochGoingBack])
    }

    @Test func `a damaged batch is found`() {
        var story = Story()
        var bytes = story.logs[0][6].array
        bytes[bytes.count - 1] ^= 1
        story.logs[0][6] = ByteSlice(bytes)
        #expect(story.rules().contains(.damagedBatch))
    }

    @Test(arguments: [[0, 1, 3], [0, 1, 1], [0, 2, 1]] as [[Int64]])
    func `polls that skip or go back are found`(offsets: [Int64]) {
        var story = Story()
        story.add(.assign(process: "c", Story.place, offset: 0))
        story.poll(offsets)
        #expect(story.rules() == [.pollOutOfOrder])
    }

    @Test func `a record that was read and is gone is found`() {
        var story = Story()
        story.send("p1", 6)
        let entry = HistoryEvent.Entry(offset: 7, key: "p1:6", value: "value 6")
        story.add(.poll(process: "c", Story.place, [entry]))
        #expect(story.rules() == [.readRecordLost])
    }

    @Test func `records that a consumer never saw are found`() {
        var story = Story()
        story.add(.assign(process: "c", Story.place, offset: 0))
        story.poll([0, 1])
        story.add(.finished(process: "c", Story.place))
        #expect(story.rules() == [.unseenRecords])
    }

    @Test(arguments: [true, false])
    func `a watermark that goes back is found`(isHigh: Bool) {
        var story = Story()
        for mark: Int64 in [4, 3] {
            story.add(
                .watermark(
                    process: "w",
                    node: 1,
                    incarnation: 1,
                    Story.place,
                    low: isHigh ? 0 : mark,
                    high: isHigh ? mark : 7
                )
            )
        }
        #expect(story.rules() == [.watermarkGoingBack])
    }

    @Test func `another life of a node may be behind`() {
        var story = Story()
        for (life, high) in [(1, 7), (2, 3)] {
            story.add(
                .watermark(
                    process: "w",
                    node: 1,
                    incarnation: life,
                    Story.place,
                    low: 0,
                    high: Int64(high)
                )
            )
        }
        #expect(story.rules() == [])
    }

    @Test func `two leaders of an epoch are found`() {
        var story = Story()
        story.add(.leader(node: 1, Story.place, epoch: 4))
        story.add(.leader(node: 2, Story.place, epoch: 4))
        #expect(story.rules() == [.twoLeaders])
    }

    @Test func `a topic that is gone is found`() {
        var story = Story()
        story.add(.createTopic(.ok, topic: "u", partitions: 2))
        #expect(story.rules() == [.topicLost])
        story.add(.deleteTopic("u"))
        #expect(story.rules() == [])
    }

    @Test func `a topic that is created after the last listing is not missed`() {
        var story = Story()
        story.add(.topics([("t", 1)]))
        story.add(.createTopic(.ok, topic: "u", partitions: 2))
        #expect(HistoryChecker.check(story.events).isEmpty)
    }

    @Test func `an acknowledgement before it is durable is found`() {
        var story = Story()
        story.add(.durable(process: "p1", id: 1, nodes: 1, replicas: 3))
        #expect(story.rules() == [.acknowledgedBeforeDurable])
    }

    @Test func `an answer to nobody's question is found`() {
        var story = Story()
        story.acknowledge("p1", 77, at: 3)
        #expect(story.rules() == [.malformedHistory])
    }

    @Test func `every rule of a history has a test here`() {
        // Those that only a simulation can break are reported by it.
        let elsewhere: Set<HistoryViolation.Rule> = [.notConverged, .wrongAnswer]
        #expect(HistoryViolation.Rule.allCases.count - elsewhere.count == 19)
    }
}
