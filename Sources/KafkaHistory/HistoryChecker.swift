import KafkaProtocol

/// Says whether Chronik may have a history, whoever wrote it.
///
/// The rules are those of `docs/history-format.md`. Everything is reported in the order in which the
/// history has it, so that the same history gives the same words.
package struct HistoryChecker {
    private static let maxViolations = 100

    private let events: [HistoryEvent]
    private var ledger = ProduceLedger()
    private var replicas: [TopicPartition: [ReplicaContent]] = [:]
    private var places: [TopicPartition] = []
    private var hasFaults = false
    package private(set) var violations: [HistoryViolation] = []
    /// What `acks=1` may lose, and has lost.
    package private(set) var lostWithAcksOne = 0

    private init(_ events: [HistoryEvent]) { self.events = events }

    /// Every violation of a history, a hundred at most.
    package static func check(_ events: [HistoryEvent]) -> [HistoryViolation] {
        var checker = HistoryChecker(events)
        checker.check()
        return checker.violations
    }

    /// How many records a history has.
    package static func records(_ events: [HistoryEvent]) -> Int {
        events.count { if case .sends = $0.what { true } else { false } }
    }

    private mutating func violate(_ rule: HistoryViolation.Rule, _ what: String) {
        guard violations.count < Self.maxViolations else { return }
        violations.append(HistoryViolation(rule, what))
    }

    private mutating func report(_ body: ((HistoryViolation.Rule, String) -> Void) -> Void) {
        var found: [(HistoryViolation.Rule, String)] = []
        body { found.append(($0, $1)) }
        for (rule, what) in found { violate(rule, what) }
    }

    private mutating func check() {
        readEvents()
        places = replicas.keys.sorted()
        for place in places {
            let all = replicas[place] ?? []
            for replica in all {
                for damage in replica.damage {
                    violate(.damagedBatch, "\(replica.name): \(damage)")
                }
                report { replica.checkDense($0) }
                report { replica.checkEpochs($0) }
            }
            for other in all.dropFirst() { report { all[0].checkEqual(other, $0) } }
        }
        checkAcknowledged()
        for place in places {
            for replica in replicas[place] ?? [] { checkContents(replica) }
        }
        checkSends()
        checkDurable()
        checkOffsets()
        let events = events
        var readers = ReaderChecks(replicas)
        report { readers.check(events, $0) }
        report { ServerChecks.checkWatermarks(events, $0) }
        report { ServerChecks.checkLeaders(events, $0) }
        report { ServerChecks.checkTopics(events, $0) }
        report { CommitChecks.check(events, $0) }
    }

    private mutating func readEvents() {
        for event in events {
            if let wrong = ledger.take(event.what) { violate(.malformedHistory, wrong) }
            switch event.what {
            case .fault: hasFaults = true
            case .replica(let node, let place, let low, let high, let batches):
                replicas[place, default: []]
                    .append(ReplicaContent(node, place, low, high, batches))
            default: break
            }
        }
    }

    // MARK: What was acknowledged, against what is there

    private mutating func checkAcknowledged() {
        for produce in ledger.produces where produce.outcome == .ok {
            let acks = ledger.producer(produce.process).acks
            guard acks != .none, let offset = produce.offset, offset >= 0,
                let place = produce.place, let all = replicas[place]
            else { continue }
            for replica in all where offset >= replica.low {
                let entry = replica.records[offset]
                if entry?.key == produce.key && entry?.value == produce.value && entry != nil {
                    continue
                }
                if acks == .leader && hasFaults {
                    lostWithAcksOne += 1
                } else {
                    reportLoss(produce, at: offset, replica)
                }
                break
            }
        }
    }

    private mutating func reportLoss(
        _ produce: ProduceLedger.Produce,
        at offset: Int64,
        _ replica: ReplicaContent
    ) {
        let others = replica.sortedRecords.filter { $0.key == produce.key }.map(\.offset)
        var there = others.isEmpty ? "nowhere" : "at \(others)"
        if others == [offset] { there = "there with another value" }
        violate(
            .acknowledgedRecordLost,
            "\(produce.name) was acknowledged at offset \(offset) of \(replica.place);"
                + " on node \(replica.node) it is \(there)"
        )
    }

    /// No record that nobody sent, none twice, none out of order, where that was promised.
    private mutating func checkContents(_ replica: ReplicaContent) {
        guard ledger.topics.contains(replica.place.topic) else { return }
        var seen: [String: Int64] = [:]
        var newest: [String: Int] = [:]
        for entry in replica.sortedRecords {
            // Words are made for what is wrong only.
            var at: String { "\(replica.name) at \(entry.offset)" }
            let key = entry.key ?? "null"
            guard let key = entry.key, let produce = ledger[key],
                produce.topic == replica.place.topic,
                produce.partition ?? replica.place.partition == replica.place.partition
            else {
                violate(.phantomRecord, "\(at): nobody sent \(key) there")
                continue
            }
            if produce.value != entry.value {
                violate(.phantomRecord, "\(at): \(key) was sent with another value")
            }
            if produce.outcome == .fail { violate(.phantomRecord, "\(at): \(key) was refused") }
            let promise = ledger.producer(produce.process)
            if let before = seen[key] {
                if promise.isIdempotent { violate(.duplicate, "\(at): \(key) is at \(before) too") }
                continue
            }
            seen[key] = entry.offset
            guard promise.isIdempotent || promise.isOrdered else { continue }
            let before = newest[produce.process] ?? -1
            if produce.id < before {
                violate(.reordering, "\(at): \(produce.name) comes after \(before)")
            }
            newest[produce.process] = max(before, produce.id)
        }
    }

    /// Where order is promised, what was sent later is acknowledged at a larger offset.
    private mutating func checkSends() {
        struct Lane: Hashable {
            let process: String
            let place: TopicPartition
        }
        var newest: [Lane: (offset: Int64, id: Int)] = [:]
        for produce in ledger.produces where produce.outcome == .ok {
            let promise = ledger.producer(produce.process)
            guard promise.isIdempotent || promise.isOrdered, let offset = produce.offset,
                offset >= 0, let place = produce.place
            else { continue }
            let lane = Lane(process: produce.process, place: place)
            if let before = newest[lane], offset <= before.offset {
                violate(
                    .sendOutOfOrder,
                    "\(produce.name) was acknowledged at \(offset) of \(place),"
                        + " \(before.id) before it at \(before.offset)"
                )
            }
            newest[lane] = (offset, produce.id)
        }
    }

    /// A majority of the replicas' disks has what is acknowledged at that moment.
    private mutating func checkDurable() {
        for event in events {
            guard case .durable(let process, let id, let nodes, let replicas) = event.what,
                nodes <= replicas / 2
            else { continue }
            violate(
                .acknowledgedBeforeDurable,
                "\(process):\(id) was acknowledged when \(nodes) of \(replicas) disks had it"
            )
        }
    }

    // MARK: One record an offset

    /// Nobody ever hears of two records at one offset.
    private mutating func checkOffsets() {
        struct Known {
            let key: String?
            let how: String
        }
        var known: [TopicPartition: [Int64: Known]] = [:]
        var found: [String] = []
        func isAt(_ place: TopicPartition, _ offset: Int64, _ key: String?, _ how: String) {
            if let before = known[place]?[offset] {
                guard before.key != key else { return }
                let (new, old) = (key ?? "null", before.key ?? "null")
                found.append("\(place) at \(offset): \(how) \(new), \(before.how) \(old)")
            } else {
                known[place, default: [:]][offset] = Known(key: key, how: how)
            }
        }
        for event in events {
            switch event.what {
            case .sent(.ok, let process, let id, let partition, let offset) where offset >= 0:
                guard let produce = ledger.produce(process, id),
                    ledger.producer(process).acks == .all
                else { continue }
                let place = TopicPartition(topic: produce.topic, partition: partition)
                isAt(place, offset, produce.key, "acknowledged was")
            case .poll(let process, let place, let entries):
                for entry in entries { isAt(place, entry.offset, entry.key, "\(process) read") }
            default: continue
            }
        }
        for what in found { violate(.inconsistentOffset, what) }
    }
}
