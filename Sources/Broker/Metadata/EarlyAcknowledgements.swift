import ClusterMetadata
import KafkaProtocol
import Platform

/// When a change of the metadata is acknowledged.
package enum MetadataAcknowledgement: Sendable {
    /// Once a majority has synced it.
    case quorum
    /// Once its leader has, where losing it again would harm nobody who believed in it.
    case leader
}

/// What a leader has acknowledged before it was committed, until that is known to be kept or lost.
///
/// A batch of the metadata is told by its offset and the term it was written in: the log of no
/// other leader has the two together. So whichever batch is committed at the offset says what
/// became of it, however many leaders later.
final class EarlyAcknowledgements: @unchecked Sendable {
    private struct Batch {
        let offset: Int64
        let epoch: Int32
    }

    // Unchecked: confined to the loop of the metadata.
    private var open: [Batch] = []
    private let underWay: Gauge
    private let lost: Counter

    init(in registry: MetricsRegistry) {
        underWay = registry.gauge(
            "chronik_metadata_early_acknowledgements",
            "Changes of the metadata acknowledged here and not known to be committed."
        )
        lost = registry.counter(
            "chronik_metadata_lost_acknowledgements_total",
            "Changes of the metadata acknowledged here that another leader's took the place of."
        )
    }

    /// A change was acknowledged that is not committed yet.
    func add(offset: Int64, epoch: Int32) {
        let place = open.lastIndex { $0.offset < offset }.map { $0 + 1 } ?? 0
        open.insert(Batch(offset: offset, epoch: epoch), at: place)
        underWay.set(open.count)
    }

    /// A batch is committed; returns how many changes are lost by it.
    func committed(_ batch: RecordBatch) -> Int {
        settle(below: batch.nextOffset.rawValue) {
            $0.offset == batch.baseOffset.rawValue
                && $0.epoch == batch.partitionLeaderEpoch.rawValue
        }
    }

    /// A snapshot has taken the place of the log up to an offset: what it holds cannot be told.
    func replaced(below end: Int64) -> Int { settle(below: end) { _ in false } }

    private func settle(below end: Int64, isKept: (Batch) -> Bool) -> Int {
        guard let first = open.first, first.offset < end else { return 0 }
        let count = open.firstIndex { $0.offset >= end } ?? open.count
        let gone = open[..<count].count { !isKept($0) }
        open.removeFirst(count)
        underWay.set(open.count)
        lost.increment(by: gone)
        return gone
    }
}

extension MetadataCommand {
    /// Whether it may be acknowledged before it is committed.
    ///
    /// Nothing is done for a topic, a partition or a configuration before its record is committed,
    /// so one that is lost was never there. What others act on at once and cannot take back waits
    /// for the majority: producer ids, registrations, terms and members, removals.
    var mayBeAcknowledgedEarly: Bool {
        switch request {
        case .createTopics, .createPartitions, .alterTopicConfigs, .alterBrokerConfigs: true
        case .deleteTopics, .registerBroker, .stopBroker, .replaceBroker, .unregisterBroker,
            .allocateProducerIDs, .reportLeaderships, .reportMembers, .reassign:
            false
        }
    }
}
