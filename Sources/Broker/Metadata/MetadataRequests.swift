import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import RaftRuntime

/// What other nodes ask of the metadata's leader.
extension MetadataService {
    /// Answers a call of another node; `nil` when it cannot be answered now.
    func serve(
        _ operation: NodeOperation,
        _ payload: ByteSlice,
        from node: Int32,
        hasRestarted: Bool
    ) async -> ByteSlice? {
        switch operation {
        case .introduce:
            // A node without a log has promised nothing before its group is started.
            guard partition != nil else { return isNew ? Self.encoded(.zero) : nil }
            // Nor to one that began in this life and has heard of no other life of the asking node.
            // It may wait for that node's voice, so without a leader it must not wait to answer.
            if isNew && !hasRestarted && leader == nil && pipeline.committed.brokers.isEmpty {
                return Self.encoded(.zero)
            }
            guard let image = try? await linearizableImage() else { return nil }
            return Self.encoded(image.broker(node)?.registration.directoryID ?? .zero)
        case .forwardWrite:
            guard let command = try? MetadataCommand(decoding: payload) else {
                return MetadataAttempt.refused(
                    .init(.invalidRequest, "the command cannot be read; are all nodes upgraded?")
                ).encoded()
            }
            return await decide(command).encoded()
        case .queryMetadata:
            do {
                try await confirmLeading()
                return MetadataAttempt.answered(.outcomes([]), position: appliedEnd).encoded()
            } catch {
                return MetadataAttempt.notLeading(error).encoded()
            }
        case .nodeStatus, .transferLeadership, .forwardProduce: return nil
        }
    }

    private static func encoded(_ id: KafkaUUID) -> ByteSlice {
        var writer = ByteWriter(capacity: 16)
        writer.write(id)
        return writer.finishContiguous()
    }
}
