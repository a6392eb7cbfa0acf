import ClusterMetadata
import Platform

/// This node as a broker of the cluster, and the others while it leads the metadata.
extension MetadataService {
    private static let registrationPause = Int64.milliseconds(500)

    /// Registers this node; again and again, unless the cluster will never take it.
    func register(
        _ registration: BrokerRegistration,
        clusterID: String
    ) async throws(MetadataProblem) {
        let command = MetadataCommand(.registerBroker(registration, clusterID: clusterID))
        while true {
            do throws(MetadataProblem) {
                let answer = try await write(command)
                guard case .brokerEpoch(let epoch) = answer else { throw answer.problem }
                brokerEpoch = epoch
                return
            } catch {
                if error.rejectsRegistration || partition?.hasFailed == true { throw error }
                log.warning("the node waits to be taken into the cluster: \(error.message)")
                await loop.sleep(nanoseconds: Self.registrationPause)
            }
        }
    }

    /// Tells the cluster that this node is about to stop; gives up when that takes too long.
    func leave(within nanoseconds: Int64) async {
        let command = MetadataCommand(.stopBroker(id: nodeID, epoch: brokerEpoch))
        let deadline = clock.monotonicNanoseconds + nanoseconds
        while clock.monotonicNanoseconds < deadline {
            if case .answered = await attempt(command, deadline) { return }
            await loop.sleep(nanoseconds: Self.pause)
        }
    }

    /// What the leader of the metadata hears and no longer hears of the other nodes.
    func liveness(_ body: @Sendable (inout MetadataController) -> [MetadataRecord]) async {
        guard pipeline.isLeading else { return }
        _ = await decide { controller in
            Decision(records: body(&controller), answer: .outcomes([]))
        }
    }
}
