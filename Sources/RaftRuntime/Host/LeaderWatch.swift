import Raft

/// Who waits for news of a group's leader.
final class LeaderWatch: @unchecked Sendable {
    // Unchecked: confined to the loop of its group.
    typealias Waiter = (Result<ReplicaID, RaftError>) -> Void
    typealias Listener = @Sendable (_ leader: ReplicaID?, _ term: Term) -> Void

    private unowned let replica: PartitionReplica
    private var waiting: [Waiter] = []
    private var listener: Listener?
    private var end: RaftError?

    init(_ replica: PartitionReplica) {
        self.replica = replica
        replica.onLeaderChanged = { [unowned self] in changed($0, $1) }
    }

    func listen(_ listener: @escaping Listener) {
        self.listener = listener
        let info = replica.info
        listener(info.leader, info.term)
    }

    func wait(_ waiter: @escaping Waiter) {
        if let end {
            waiter(.failure(end))
        } else if let leader = replica.info.leader {
            waiter(.success(leader))
        } else {
            waiting.append(waiter)
        }
    }

    private func changed(_ leader: ReplicaID?, _ term: Term) {
        listener?(leader, term)
        guard let leader else { return }
        resume(with: .success(leader))
    }

    /// The replica takes no further part.
    func ended(_ error: RaftError) {
        end = error
        resume(with: .failure(error))
    }

    private func resume(with result: Result<ReplicaID, RaftError>) {
        let all = waiting
        waiting = []
        for waiter in all { waiter(result) }
    }
}
