import Bytes
import ClusterMetadata
import KafkaProtocol
import Platform
import RaftRuntime

/// The metadata as of now, on whatever node: the leader is asked how far to wait.
extension MetadataService {
    func linearizableImage() async throws(MetadataProblem) -> MetadataImage {
        let deadline = clock.monotonicNanoseconds + Self.patience
        if let calls, !pipeline.isLeading, let leader, leader != nodeID {
            let answer: ByteSlice
            do {
                answer = try await calls.call(
                    leader,
                    .queryMetadata,
                    ByteSlice(),
                    within: .seconds(5)
                )
            } catch {
                throw .init(.requestTimedOut, "the metadata's leader cannot be asked: \(error)")
            }
            guard case .answered(_, let position)? = try? MetadataAttempt(decoding: answer) else {
                throw .init(.notController, "node \(leader) does not lead the metadata")
            }
            await waitForPosition(position, until: deadline)
            return pipeline.committed
        }
        try await confirmLeading()
        return pipeline.committed
    }

    /// Returns once all that was committed before is applied here; false if that cannot be told.
    func isCurrent() async -> Bool {
        if pipeline.isLeading { return (try? await confirmLeading()) != nil }
        guard let calls, let leader, leader != nodeID,
            let answer = try? await calls.call(
                leader,
                .queryMetadata,
                ByteSlice(),
                within: .seconds(5)
            ),
            case .answered(_, let position)? = try? MetadataAttempt(decoding: answer)
        else { return false }
        await waitForPosition(position, until: clock.monotonicNanoseconds + Self.patience)
        return appliedEnd >= position
    }

    /// Waits until a majority has confirmed that this node leads.
    func confirmLeading() async throws(MetadataProblem) {
        guard let partition, pipeline.isLeading else {
            throw .init(.notController, "this node does not lead the metadata")
        }
        do {
            _ = try await partition.replica.readIndex()
            tellApplied()
        } catch {
            throw .init(.notController, "leadership of the metadata is in doubt: \(error)")
        }
    }
}
