import KafkaProtocol
import LogStorage
import Platform

/// An offset that was asked for by its time.
struct OffsetLookup: Sendable {
    var error: ErrorCode
    var offset: Int64 = -1
    var timestamp: Int64 = -1
    var leaderEpoch: Int32 = -1
}

extension PartitionShard {
    /// The special timestamps of ListOffsets.
    private enum Moment {
        static let latest: Int64 = -1
        static let earliest: Int64 = -2
        static let largestTimestamp: Int64 = -3
        /// KIP-405: the earliest on the local disk, which here is the earliest there is.
        static let earliestLocal: Int64 = -4
    }

    func offset(of id: TopicPartition, timestamp: Int64, clientEpoch: Int32) async -> OffsetLookup {
        guard let partition = partition(id) else {
            return OffsetLookup(error: .notLeaderOrFollower)
        }
        if let error = partition.checkLeadership(clientEpoch: clientEpoch) {
            return OffsetLookup(error: error)
        }
        var answer = OffsetLookup(error: .none)
        answer.leaderEpoch = partition.leaderEpoch ?? -1
        let log = partition.log
        switch timestamp {
        case Moment.latest: answer.offset = log.logEndOffset.rawValue
        case Moment.earliest, Moment.earliestLocal: answer.offset = log.logStartOffset.rawValue
        case Moment.largestTimestamp:
            if let found = log.maxTimestamp {
                answer.offset = found.offset.rawValue
                answer.timestamp = found.timestamp
            }
        case ..<0: answer.error = .unsupportedVersion
        default:
            do {
                guard let found = try await find(timestamp, in: log) else { break }
                answer.offset = found.offset.rawValue
                answer.timestamp = found.timestamp
            } catch {
                answer.error = .kafkaStorageError
            }
        }
        return answer
    }

    private func find(_ timestamp: Int64, in log: PartitionLog) async throws -> TimeLookup.Found? {
        switch log.lookUp(timestamp: timestamp) {
        case .found(let found): return found
        case .cold(let lookup, let otherwise):
            let found: Result<TimeLookup.Found?, any Error> = await coldReader.run {
                Result { try lookup.perform() }
            }
            return try found.get() ?? otherwise
        }
    }

    func endOffset(
        of id: TopicPartition,
        epoch: Int32,
        clientEpoch: Int32
    ) -> (error: ErrorCode, epoch: Int32, endOffset: Int64) {
        guard let partition = partition(id) else { return (.notLeaderOrFollower, -1, -1) }
        if let error = partition.checkLeadership(clientEpoch: clientEpoch) {
            return (error, -1, -1)
        }
        // The epoch led in now ends at the log's end, whether or not it has records yet.
        if epoch == partition.leaderEpoch {
            return (.none, epoch, partition.log.logEndOffset.rawValue)
        }
        let found = partition.log.epochs.endOffset(
            of: LeaderEpoch(epoch),
            logEnd: partition.log.logEndOffset
        )
        return (.none, found.epoch.rawValue, found.end.rawValue)
    }

    func deleteRecords(
        of id: TopicPartition,
        before offset: Int64
    ) async -> (lowWatermark: Int64, error: ErrorCode) {
        guard let partition = partition(id) else { return (-1, .notLeaderOrFollower) }
        return await partition.deleteRecords(before: offset)
    }
}
