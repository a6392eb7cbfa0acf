import Platform
import Raft

/// The elections of one loop: so many at the same time, the others in the order they came.
///
/// A place is given back when a leader is known, or after a while; so thousands of groups whose
/// leader died elect new ones quickly, and without all of them talking at once.
struct Elections {
    private let limit: Int
    private var running: [PartitionReplica] = []
    private var queue: [PartitionReplica] = []
    private var taken = 0

    init(limit: Int) { self.limit = limit }

    /// Whether nothing waits for a place.
    var isIdle: Bool { taken == queue.count || running.count >= limit }

    var runningCount: Int { running.count }

    /// Takes a place if one is free, else one in the queue.
    mutating func enter(_ replica: PartitionReplica, until tick: UInt64) -> Bool {
        switch replica.election {
        case .running: return true
        case .queued: return false
        case .outside: break
        }
        guard running.count < limit, taken == queue.count else {
            replica.election = .queued
            queue.append(replica)
            return false
        }
        replica.election = .running(until: tick)
        running.append(replica)
        return true
    }

    mutating func leave(_ replica: PartitionReplica) {
        let place = replica.election
        replica.election = .outside
        // Those in the queue are passed over when their turn comes.
        guard case .running = place, let at = running.firstIndex(where: { $0 === replica }) else {
            return
        }
        running.swapAt(at, running.count - 1)
        running.removeLast()
    }

    /// The next in the queue, if a place is free.
    mutating func next(until tick: UInt64) -> PartitionReplica? {
        while taken < queue.count, running.count < limit {
            let replica = queue[taken]
            taken += 1
            if taken == queue.count {
                queue.removeAll(keepingCapacity: true)
                taken = 0
            }
            guard replica.election == .queued else { continue }
            replica.election = .running(until: tick)
            running.append(replica)
            return replica
        }
        return nil
    }

    /// Ends what has taken too long; who still has no leader asks for a place again.
    mutating func expire(_ now: UInt64) {
        for replica in running {
            if case .running(let until) = replica.election, until <= now { leave(replica) }
        }
    }
}

/// Replicas of this node that led and ended, until their groups are known to go on without them.
///
/// The others' nodes hear this one's beats and would wait for a leader that is no more.
struct Resignations {
    private struct Resignation {
        let term: Term
        let from: ReplicaID
        /// Best first.
        let heirs: [ReplicaID]
        var next: UInt64
        var tries: Int
    }

    private static let maxTries = 50
    private var pending: [(group: UInt64, resignation: Resignation)] = []

    var isEmpty: Bool { pending.isEmpty }

    /// - Returns: What is to be said at once.
    mutating func begin(
        _ replica: PartitionReplica,
        linked: [ReplicaID],
        now: UInt64
    ) -> [Message] {
        let status = replica.status
        let heirs = status.peers.filter { $0.id != status.id && !$0.isLearner }
            .sorted { left, right in
                let (a, b) = (linked.contains(left.id), linked.contains(right.id))
                return a != b ? a : (left.match, right.id) > (right.match, left.id)
            }.map(\.id)
        guard !heirs.isEmpty else { return [] }
        end(replica.group)
        let resignation = Resignation(
            term: status.term,
            from: status.id,
            heirs: heirs,
            next: now + 1,
            tries: 1
        )
        pending.append((replica.group, resignation))
        return [Self.handOver(resignation)]
    }

    private static func handOver(_ resignation: Resignation) -> Message {
        CoverageMark.leadershipHandedOver.hit()
        let heir = resignation.heirs[(resignation.tries - 1) % resignation.heirs.count]
        return Message(
            from: resignation.from,
            to: heir,
            term: resignation.term,
            body: .timeoutNow
        )
    }

    /// A message of the group has arrived: in a later term it goes on without this replica.
    mutating func heard(_ group: UInt64, _ term: Term) {
        guard !pending.isEmpty else { return }
        pending.removeAll { $0.group == group && term > $0.resignation.term }
    }

    mutating func end(_ group: UInt64) { pending.removeAll { $0.group == group } }

    /// What is to be said again.
    mutating func due(_ now: UInt64, every ticks: UInt64) -> [(UInt64, Message)] {
        guard !pending.isEmpty else { return [] }
        var messages: [(UInt64, Message)] = []
        for place in pending.indices where pending[place].resignation.next <= now {
            pending[place].resignation.tries += 1
            pending[place].resignation.next = now + ticks
            messages.append((pending[place].group, Self.handOver(pending[place].resignation)))
        }
        pending.removeAll { $0.resignation.tries > Self.maxTries }
        return messages
    }
}
