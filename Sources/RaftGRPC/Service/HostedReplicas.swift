package import Bytes
import Platform
package import Raft
package import RaftRuntime

/// The replicas of a node as calls reach them, whichever loop they live on.
///
/// What a node's ``RaftServiceHandler`` does for calls that are about one group, it does by this.
package final class HostedReplicas: Sendable {
    private let managers: [RaftReplicaManager]
    private let placement: RaftDispatcher.Placement

    /// Reaches the groups of these managers, placed as the dispatcher places them.
    package init(
        _ managers: [RaftReplicaManager],
        placement: @escaping RaftDispatcher.Placement
    ) {
        self.managers = managers
        self.placement = placement
    }

    package func term(of group: UInt64) async throws(RaftCallError) -> Term {
        try await ask(group) { replica, done in done(.success(replica.info.term)) }
    }

    package func step(_ message: GroupMessage) async throws(RaftCallError) {
        try await ask(message.group) { replica, done in
            replica.step(message.message)
            done(.success(()))
        }
    }

    /// Only at the leader; elsewhere the leader is named.
    package func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse {
        try await ask(group) { replica, done in
            let info = replica.info
            guard info.isLeader else { return done(.failure(.notLeader(leader: info.leader))) }
            replica.readIndex { result in
                done(
                    result.map { index in
                        var response = ReadIndexResponse()
                        response.index = index.rawValue
                        response.term = info.term.rawValue
                        return response
                    }
                )
            }
        }
    }

    /// Only at the leader; elsewhere the leader is named.
    package func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse {
        try await ask(group) { replica, done in
            let info = replica.info
            // Where a leader puts the next entry.
            let index = info.lastIndex + 1
            replica.propose(RaftPayload(payload)) { result in
                done(
                    result.map { answer in
                        var response = ForwardWriteResponse()
                        response.index = index.rawValue
                        response.term = info.term.rawValue
                        response.answer = answer
                        return response
                    }
                )
            }
        }
    }

    /// Runs on the loop of a group, and comes back with what is said there.
    private func ask<Answer: Sendable>(
        _ group: UInt64,
        _ body:
            @escaping @Sendable (
                PartitionReplica, @escaping @Sendable (Result<Answer, RaftError>) -> Void
            ) -> Void
    ) async throws(RaftCallError) -> Answer {
        guard !managers.isEmpty else { throw .raft(.unknownGroup(group)) }
        let manager = managers[placement(group)]
        let answer = Promise<Answer>()
        let run: @Sendable () -> Void = {
            guard let replica = manager.replica(group) else {
                return answer.keep(.failure(.raft(.unknownGroup(group))))
            }
            body(replica) { answer.keep($0.mapError { .raft($0) }) }
        }
        if manager.loop.isCurrent { run() } else { manager.loop.execute(run) }
        return try await answer.value()
    }
}
