import Bytes
import KafkaProtocol

/// A record of a simulated producer: its content follows from these numbers.
struct RecordID: Hashable, CustomStringConvertible {
    let producer: Int
    let place: TopicPartition
    let counter: Int

    var description: String { "record \(counter) of producer \(producer) for \(place)" }

    private var length: Int {
        var mixed = UInt64(truncatingIfNeeded: producer &* 1_000_003 &+ counter)
        mixed = (mixed ^ (mixed >> 7)) &* 0x9E37_79B9_7F4A_7C15
        let draw = Int(mixed >> 40)
        return draw % 16 == 0 ? draw / 16 % 6_000 : draw / 16 % 300
    }

    var value: ByteSlice {
        let head = "\(producer)/\(place)/\(counter)/"
        return ByteSlice(
            Array(head.utf8)
                + [UInt8](repeating: UInt8(truncatingIfNeeded: counter), count: length)
        )
    }

    /// The record that has this value, if one may have it.
    init?(value: ByteSlice, in place: TopicPartition) {
        let parts = value.array.prefix(200).split(
            separator: UInt8(ascii: "/"),
            maxSplits: 3,
            omittingEmptySubsequences: false
        )
        guard parts.count == 4,
            let producer = Int(String(decoding: parts[0], as: UTF8.self)),
            let counter = Int(String(decoding: parts[2], as: UTF8.self))
        else { return nil }
        self.init(producer: producer, place: place, counter: counter)
        guard self.value == value else { return nil }
    }

    init(producer: Int, place: TopicPartition, counter: Int) {
        self.producer = producer
        self.place = place
        self.counter = counter
    }
}

/// What the clients of a simulated broker know for certain, and what they found wrong.
///
/// Invariants, by name:
/// - *durable*: what was acknowledged, or read by a consumer, stays where it was
/// - *dense*: the offsets of a partition begin at 0 and have no holes
/// - *once*: no record is there twice; an idempotent producer's are there without gaps, in order
/// - *unique*: no producer id is given out twice
/// - *real*: nothing is there that nobody sent, and everything is as it was sent
final class Ledger: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    /// How many records each producer has sent to each partition at least once.
    private var sent: [Int: [TopicPartition: Int]] = [:]
    private var idempotent: Set<Int> = []
    private var producerIDs: [Int64: Int] = [:]
    /// What must be where.
    private var known: [TopicPartition: [Int64: RecordID]] = [:]
    private(set) var topics: Set<String> = []
    private(set) var acknowledged = 0
    private(set) var violations: [String] = []
    var audits = 0

    func report(_ violation: String) {
        if violations.count < 20 { violations.append(violation) }
    }

    func topicCreated(_ name: String) { topics.insert(name) }

    func producerStarted(_ producer: Int, id: Int64) {
        idempotent.insert(producer)
        if let other = producerIDs.updateValue(producer, forKey: id), other != producer {
            report("unique: producers \(other) and \(producer) were both given id \(id)")
        }
    }

    func sends(_ id: RecordID) {
        sent[id.producer, default: [:]][id.place] =
            max(sent[id.producer]?[id.place] ?? 0, id.counter + 1)
    }

    func acknowledges(_ ids: [RecordID], at offset: Int64) {
        acknowledged += ids.count
        for (index, id) in ids.enumerated() { isAt(offset + Int64(index), id, "acknowledged") }
    }

    private func isAt(_ offset: Int64, _ id: RecordID, _ how: String) {
        if let before = known[id.place, default: [:]].updateValue(id, forKey: offset),
            before != id
        {
            report("durable: \(how) at \(id.place) \(offset): \(id); there was \(before)")
        }
    }

    // MARK: Reading

    /// Takes in a batch that a consumer read, whatever else is in the partition.
    func reads(_ batch: RecordBatch, in place: TopicPartition) -> [(Int64, RecordID)] {
        guard batch.isIntact, let records = try? batch.records() else {
            report("real: the batch at \(place) \(batch.baseOffset) is damaged")
            return []
        }
        var found: [(Int64, RecordID)] = []
        for record in records {
            guard let value = record.value, let id = RecordID(value: value, in: place),
                id.counter < sent[id.producer]?[place] ?? 0
            else {
                report("real: nobody sent what is at \(place) \(record.offset)")
                continue
            }
            isAt(record.offset.rawValue, id, "read")
            found.append((record.offset.rawValue, id))
        }
        return found
    }

    /// Where the partition ends at least, as far as anybody knows.
    func knownEnd(of place: TopicPartition) -> Int64 { (known[place]?.keys.max() ?? -1) + 1 }

    /// Checks a whole partition, read from its start; `end` is where it ended at least before.
    func check(
        _ place: TopicPartition,
        _ found: [(offset: Int64, id: RecordID)],
        knownEnd end: Int64
    ) {
        var seen: Set<RecordID> = []
        var counters: [Int: Int] = [:]
        for (index, entry) in found.enumerated() {
            if entry.offset != Int64(index) {
                report("dense: \(place) has \(entry.offset) where \(index) should be")
                break
            }
            let id = entry.id
            let last = counters[id.producer] ?? -1
            if !seen.insert(id).inserted {
                report("once: \(id) is at \(entry.offset) and before")
            } else if id.counter != last + 1, idempotent.contains(id.producer) {
                report("once: \(id) is at \(entry.offset), right behind record \(last)")
            }
            counters[id.producer] = id.counter
        }
        guard found.count < end else { return }
        let first = known[place]?[Int64(found.count)].map { "\($0)" } ?? "something"
        report("durable: \(place) ends at \(found.count), not \(end); \(first) was there")
    }
}
