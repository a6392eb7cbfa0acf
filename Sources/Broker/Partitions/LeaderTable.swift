import ClusterMetadata
import KafkaProtocol
import Synchronization

/// Who leads a partition, as a replica on this node knows it.
struct KnownLeader: Sendable, Equatable {
    /// `nil` while none is known.
    let id: Int32?
    /// The Raft term it leads in, or the latest there was.
    let epoch: Int32
}

/// The leaders of the partitions that have a replica on this node, for all loops to read.
///
/// Asked for metadata and when a partition starts; producing and fetching ask the shard that has
/// the partition.
final class LeaderTable: Sendable {
    private struct Waiter {
        let id: TopicPartition
        let signal: FetchSignal
    }
    /// A partition that this node has begun to lead.
    struct Leading: Sendable {
        let groupID: UInt64
        let epoch: Int32
    }
    private struct State {
        /// The epochs this node leads in, and is ready to serve.
        var epochs: [TopicPartition: Int32] = [:]
        var leading: [TopicPartition: Leading] = [:]
        var observer: Observer?
        var leaders: [TopicPartition: KnownLeader] = [:]
        /// Those that cannot come up.
        var abandoned: Set<TopicPartition> = []
        var waiters: [Waiter] = []
    }
    private let nodeID: Int32
    private let state = Mutex(State())

    init(nodeID: Int32) { self.nodeID = nodeID }

    /// Who is told of every partition that this node begins to lead.
    final class Observer: Sendable {
        let leads: @Sendable (Leading) -> Void
        init(_ leads: @escaping @Sendable (Leading) -> Void) { self.leads = leads }
    }

    /// Tells `observer` of what is led already, and from now on of what comes.
    func observe(_ observer: Observer) {
        let led = state.withLock { state in
            state.observer = observer
            return state.leading.values.sorted { $0.groupID < $1.groupID }
        }
        for leading in led { observer.leads(leading) }
    }

    /// This node leads and serves, or does not any more.
    func set(_ id: TopicPartition, _ leading: Leading?) {
        let observer = state.withLock { state in
            state.epochs[id] = leading?.epoch
            state.leading[id] = leading
            if leading != nil { state.abandoned.remove(id) }
            return state.observer
        }
        guard let leading else { return }
        observer?.leads(leading)
        wakeWaiters(for: id)
    }

    /// A replica here has learned who leads; this node too may be meant, before it serves.
    func follow(_ id: TopicPartition, _ leader: KnownLeader) {
        let isElsewhere = leader.id != nil && leader.id != nodeID
        state.withLock { state in
            state.leaders[id] = leader
            if isElsewhere { state.abandoned.remove(id) }
        }
        if isElsewhere { wakeWaiters(for: id) }
    }

    /// Nobody waits any longer for a partition that cannot come up.
    func abandon(_ id: TopicPartition) {
        state.withLock { state in
            state.abandoned.insert(id)
            state.leaders[id] = nil
        }
        wakeWaiters(for: id)
    }

    /// The replica on this node is gone.
    func remove(_ id: TopicPartition) {
        state.withLock { state in
            state.epochs[id] = nil
            state.leading[id] = nil
            state.leaders[id] = nil
            state.abandoned.remove(id)
        }
        wakeWaiters(for: id)
    }

    private func wakeWaiters(for id: TopicPartition) {
        let waiters = state.withLock { state in
            guard !state.waiters.isEmpty else { return [Waiter]() }
            let woken = state.waiters.filter { $0.id == id }
            state.waiters.removeAll { $0.id == id }
            return woken
        }
        for waiter in waiters { waiter.signal.fire() }
    }

    /// How many partitions lead here.
    var count: Int { state.withLock { $0.epochs.count } }

    /// The epoch this node leads in.
    func epoch(of id: TopicPartition) -> Int32? { state.withLock { $0.epochs[id] } }

    /// Who leads, if a replica on this node knows; this node only once it serves.
    func leader(of id: TopicPartition) -> KnownLeader? {
        state.withLock { state in
            if let epoch = state.epochs[id] { return KnownLeader(id: nodeID, epoch: epoch) }
            guard let known = state.leaders[id] else { return nil }
            return known.id == nodeID ? KnownLeader(id: nil, epoch: known.epoch) : known
        }
    }

    /// Who leads a partition, whether or not it has a replica on this node: as that knows it, or
    /// else as the metadata has it.
    func leader(
        of id: TopicPartition,
        _ partition: MetadataImage.Partition,
        in image: MetadataImage
    ) -> Int32? {
        if let known = leader(of: id)?.id { return known }
        let view = image.clientView(of: partition)
        return view.leader < 0 ? nil : view.leader
    }

    /// Returns once each of the partitions has a leader that serves here or is another node, was
    /// abandoned or removed; for partitions with a replica on this node.
    func waitForLeaders(of ids: [TopicPartition]) async {
        for id in ids {
            let signal = FetchSignal()
            let nodeID = nodeID
            let isSettled = state.withLock { state in
                if state.epochs[id] != nil || state.abandoned.contains(id) { return true }
                if let leader = state.leaders[id]?.id, leader != nodeID { return true }
                state.waiters.append(Waiter(id: id, signal: signal))
                return false
            }
            if !isSettled { await signal.wait() }
        }
    }
}
