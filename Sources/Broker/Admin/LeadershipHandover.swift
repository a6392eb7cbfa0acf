import Admin
import Platform
import Raft
import RaftRuntime

/// A partition's leadership on its way to another replica, from one look of its leader to the next.
///
/// A target that keeps up is asked again when it did not take over: the request may have been lost,
/// or its node slow.
struct LeadershipHandover {
    /// Raft gives a transfer up after an election timeout, whatever went wrong: so many are begun.
    private static let mostAttempts = 4
    /// In between proposals are taken.
    private static let pause = Int64.milliseconds(100)

    private let partition: Partition
    private let target: ReplicaID
    private let deadline: Int64
    /// The term it is handed over from.
    private let term: Term
    private var attempts = 0
    /// When Raft was first seen to have given the last attempt up.
    private var gaveUp: Int64?

    init(of partition: Partition, to target: ReplicaID, by deadline: Int64) {
        self.partition = partition
        self.target = target
        self.deadline = deadline
        term = partition.replica.info.term
    }

    private var replica: PartitionReplica { partition.replica }

    /// What there is to say before anything is begun.
    var refusal: LeadershipTransfer? {
        if target == replica.manager.replicaID { return .alreadyLeader }
        let status = replica.status
        guard status.membership.voters.contains(target) else {
            return .notAReplica(
                replicas: status.membership.voters.map { Int32(truncatingIfNeeded: $0.rawValue) }
            )
        }
        if let other = status.transferee, other != target { return .busy }
        let peer = status.peers.first { $0.id == target }
        if peer?.isSentSnapshot ?? false { return .targetUnavailable(reason: doubts(status)) }
        return nil
    }

    /// Begins an attempt if one is due; what became of the whole, once that is known.
    mutating func step(at now: Int64) -> LeadershipTransfer? {
        let info = replica.info
        if info.leader == target { return .transferred }
        if let leader = info.leader, info.term > term, !info.isLeader {
            return .failed(reason: "node \(leader) was elected instead")
        }
        if partition.hasFailed { return .failed(reason: "the partition's log failed") }
        if now >= deadline { return .timedOut }
        guard info.isLeader else { return nil }
        let status = replica.status
        guard status.transferee == nil else { return nil }
        let gaveUp = gaveUp ?? now
        self.gaveUp = gaveUp
        switch next(after: now - gaveUp, status) {
        case .wait: return nil
        case .giveUp: return .targetUnavailable(reason: doubts(status))
        case .begin: return begin()
        }
    }

    private mutating func begin() -> LeadershipTransfer? {
        do {
            try replica.transferLeadership(to: target)
        } catch {
            return LeadershipTransfer(refusedWith: error)
        }
        attempts += 1
        gaveUp = nil
        return nil
    }

    private enum NextStep {
        case begin
        case wait
        case giveUp
    }

    /// What to do about an attempt that was given up so long ago.
    ///
    /// Followers count as active anew after every election timeout: a heartbeat later it is known
    /// who is.
    private func next(after nanoseconds: Int64, _ status: RaftStatus) -> NextStep {
        if attempts == 0 { return .begin }
        guard attempts < Self.mostAttempts, replica.manager.peers.isLinked(target) else {
            return .giveUp
        }
        if status.followersThatKeepUp.contains(where: { $0.id == target }) {
            return nanoseconds < Self.pause ? .wait : .begin
        }
        let raft = replica.manager.config
        let timeout = Int64.milliseconds(Int64(raft.electionTicks * raft.tickMilliseconds))
        return nanoseconds < timeout ? .wait : .giveUp
    }

    private func doubts(_ status: RaftStatus) -> String {
        let node = "node \(target.rawValue)"
        let found = status.peers.first { $0.id == target }
        if found?.isSentSnapshot ?? false {
            return "\(node) is too far behind: it is sent a snapshot"
        }
        guard let peer = found, replica.manager.peers.isLinked(target) else {
            return "\(node) is silent"
        }
        let lacks = peer.match.distance(to: status.lastIndex)
        if lacks > 0 { return "\(node) is too far behind: it lacks \(lacks) entries" }
        return "\(node) has everything, but does not take over"
    }
}

extension LeadershipTransfer {
    fileprivate init(refusedWith error: RaftError) {
        self =
            switch error {
            case .notLeader, .stopped, .unknownGroup: .leaderless
            case .overloaded, .changePending: .busy
            default: .failed(reason: "the leader refused: \(error)")
            }
    }
}
