package import KafkaProtocol
import Platform

/// What the partition knows of idempotent producers: the last five batches of each (KIP-98).
///
/// Two layers: what is committed, which every replica has, and what the leader has appended and not
/// yet seen committed. A batch is checked against both, and moves from the second to the first.
package struct ProducerTable: Sendable, Equatable {
    package struct Batch: Sendable, Equatable {
        package let baseSequence: Int32
        package let lastSequence: Int32
        package let baseOffset: Offset
    }

    package struct Producer: Sendable, Equatable {
        package var epoch: Int16
        /// Oldest first, five at the most.
        package var recent: [Batch] = []
        /// Milliseconds since 1970 of the last batch.
        package var lastActive: Int64

        package init(epoch: Int16, recent: [Batch] = [], lastActive: Int64) {
            self.epoch = epoch
            self.recent = recent
            self.lastActive = lastActive
        }
    }

    private struct Staged: Sendable, Equatable {
        var epoch: Int16
        var batches: [Batch]
        /// Milliseconds since 1970 of the last append, by the leader's clock.
        var lastActive: Int64 = 0
    }

    package enum Verdict: Equatable {
        case new
        /// Committed before, at this offset.
        case duplicate(Offset)
        /// Appended before at this offset, and not yet committed.
        case duplicatePending(Offset)
        case rejected(ErrorCode)
    }

    package static let batchesKept = 5
    private static let maxProducers = 100_000

    package private(set) var producers: [Int64: Producer] = [:]
    /// Of producers with larger IDs nothing was ever forgotten.
    ///
    /// One that is not known has nothing in the log. IDs are given in ascending blocks, so that holds
    /// for every new producer.
    package private(set) var forgottenThrough: Int64 = noneForgotten
    package static let noneForgotten: Int64 = -1
    private var staged: [Int64: Staged] = [:]
    /// The first batch of each producer that may have been forgotten, where it was refused for a
    /// while: what was sent behind it must not overtake it.
    private var refused: [Int64: (epoch: Int16, sequence: Int32)] = [:]

    package init() {}

    package static func == (a: ProducerTable, b: ProducerTable) -> Bool {
        a.producers == b.producers && a.staged == b.staged
            && a.forgottenThrough == b.forgottenThrough
    }

    init(producers: [Int64: Producer], forgottenThrough: Int64) {
        self.producers = producers
        self.forgottenThrough = forgottenThrough
    }

    /// Whether a batch is the producer's next, or one it sent before.
    package func check(_ batch: RecordBatch, now: Int64) -> Verdict {
        guard batch.hasProducer else { return .new }
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .duplicateTaken { return .new }
        #endif
        let committed = producers[batch.producerID]
        let pending = staged[batch.producerID]
        guard let epoch = pending?.epoch ?? committed?.epoch else {
            // Its first batch was sent and is not here: what was sent behind it must not be first.
            if batch.producerID > forgottenThrough {
                return batch.baseSequence == 0 ? .new : .rejected(.outOfOrderSequenceNumber)
            }
            guard let first = refused[batch.producerID], first.epoch == batch.producerEpoch,
                batch.baseSequence > first.sequence
            else { return .new }
            return .rejected(.outOfOrderSequenceNumber)
        }
        if batch.producerEpoch < epoch { return .rejected(.invalidProducerEpoch) }
        if batch.producerEpoch > epoch {
            return batch.baseSequence == 0 ? .new : .rejected(.outOfOrderSequenceNumber)
        }
        if let known = pending?.batches.first(where: { Self.same($0, batch) }) {
            return .duplicatePending(known.baseOffset)
        }
        let recent = committed?.epoch == epoch ? committed?.recent ?? [] : []
        if let known = recent.first(where: { Self.same($0, batch) }) {
            return .duplicate(known.baseOffset)
        }
        guard let last = pending?.batches.last ?? recent.last else { return .new }
        return batch.baseSequence == RecordBatch.sequence(last.lastSequence, plus: 1)
            ? .new : .rejected(.outOfOrderSequenceNumber)
    }

    private static func same(_ known: Batch, _ batch: RecordBatch) -> Bool {
        known.baseSequence == batch.baseSequence && known.lastSequence == batch.lastSequence
    }

    /// A batch was refused that its producer will send again.
    package mutating func refuse(_ batch: RecordBatch) {
        let id = batch.producerID
        guard batch.hasProducer, id <= forgottenThrough, producers[id] == nil, staged[id] == nil
        else { return }
        if let known = refused[id],
            (batch.producerEpoch, -batch.baseSequence) <= (known.epoch, -known.sequence)
        {
            return
        }
        if refused.count >= Self.maxProducers { refused = [:] }
        refused[id] = (batch.producerEpoch, batch.baseSequence)
    }

    /// The leader has appended a batch, whose offset is assigned.
    package mutating func stage(_ batch: RecordBatch, now: Int64) {
        guard batch.hasProducer else { return }
        refused[batch.producerID] = nil
        var entry = staged[batch.producerID] ?? Staged(epoch: batch.producerEpoch, batches: [])
        if batch.producerEpoch > entry.epoch {
            entry = Staged(epoch: batch.producerEpoch, batches: [])
        }
        entry.batches.append(Self.summary(batch))
        entry.lastActive = now
        staged[batch.producerID] = entry
    }

    /// The batch is committed.
    ///
    /// `now`, in milliseconds since 1970, counts where the batch was not appended here.
    package mutating func commit(
        _ batch: RecordBatch,
        now: @autoclosure () -> Int64 = Int64.min
    ) {
        guard batch.hasProducer else { return }
        // A producer's own clock says little about how long it has been idle.
        let active = staged[batch.producerID]?.lastActive ?? max(batch.maxTimestamp, now())
        if var entry = staged[batch.producerID] {
            entry.batches.removeAll { $0.baseOffset <= batch.baseOffset }
            staged[batch.producerID] = entry.batches.isEmpty ? nil : entry
        }
        var producer =
            producers[batch.producerID]
            ?? Producer(epoch: batch.producerEpoch, lastActive: active)
        if producer.epoch != batch.producerEpoch {
            producer = Producer(epoch: batch.producerEpoch, lastActive: active)
        }
        producer.lastActive = max(producer.lastActive, active)
        if producer.recent.count == Self.batchesKept { producer.recent.removeFirst() }
        producer.recent.append(Self.summary(batch))
        producers[batch.producerID] = producer
        if producers.count > Self.maxProducers { dropLeastActive() }
    }

    /// Leadership is lost: what was appended and not committed may never be.
    package mutating func dropStaged() {
        staged = [:]
        refused = [:]
    }

    /// Forgets producers not heard of since `moment`, in milliseconds since 1970.
    package mutating func expire(before moment: Int64) {
        for (id, producer) in producers
        where producer.lastActive < moment && staged[id] == nil {
            forget(id)
        }
    }

    private mutating func forget(_ id: Int64) {
        producers[id] = nil
        forgottenThrough = max(forgottenThrough, id)
    }

    private mutating func dropLeastActive() {
        // A tenth at once, so that it is rare.
        let order = producers.sorted {
            ($0.value.lastActive, $0.key) < ($1.value.lastActive, $1.key)
        }
        for (id, _) in order.prefix(Self.maxProducers / 10) { forget(id) }
    }

    private static func summary(_ batch: RecordBatch) -> Batch {
        Batch(
            baseSequence: batch.baseSequence,
            lastSequence: batch.lastSequence,
            baseOffset: batch.baseOffset
        )
    }
}
