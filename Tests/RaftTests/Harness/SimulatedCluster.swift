@testable import Raft

/// A group in one process: its network, its disks and its clients, all moved by one seed.
final class SimulatedCluster {
    private(set) var replicas: [SimulatedReplica] = []
    var network: [Message] = []
    var cut: Set<Link> = []
    var invariants = Invariants()
    var generator: SeededGenerator

    struct Link: Hashable {
        var from: ReplicaID
        var to: ReplicaID
    }

    /// Proposals by their content, with the place they were given.
    private(set) var proposed: [UInt64: ProposalReceipt] = [:]
    private(set) var acknowledged: [UInt64: LogIndex] = [:]
    private var appliedContents: [LogIndex: UInt64] = [:]
    private var nextContent: UInt64 = 1
    private var nextRead: UInt64 = 1
    private var pendingReads: [UInt64: LogIndex] = [:]
    private(set) var answeredReads = 0
    private(set) var events = 0

    init(
        voters: Int,
        learners: Int = 0,
        spare: Int = 0,
        seed: UInt64 = 1,
        _ adjust: (inout RaftNode.Configuration) -> Void = { _ in }
    ) throws {
        generator = SeededGenerator(seed: seed)
        let ids = (1...(voters + learners + spare)).map { ReplicaID(UInt64($0)) }
        let membership = Membership(
            voters: Array(ids[..<voters]),
            learners: Array(ids[voters..<(voters + learners)])
        )
        for id in ids {
            var configuration = RaftNode.Configuration(
                id: id,
                randomSeed: seed &* 1_000 &+ id.rawValue
            )
            adjust(&configuration)
            let isMember = membership.contains(id)
            replicas.append(
                try SimulatedReplica(
                    configuration: configuration,
                    membership: isMember ? membership : Membership()
                )
            )
        }
    }

    subscript(id: Int) -> SimulatedReplica { replicas[id - 1] }

    /// The node of a replica that is up.
    func node(_ id: Int) -> RaftNode {
        guard let node = replicas[id - 1].node else { preconditionFailure("replica \(id) is down") }
        return node
    }

    /// The leader of the highest term among those up.
    var leader: SimulatedReplica? {
        replicas.filter { $0.node?.role == .leader }
            .max { ($0.node?.term ?? .zero) < ($1.node?.term ?? .zero) }
    }

    // MARK: - Single events

    /// Does something to a node and lets it say what it wants done.
    func with(_ id: Int, _ body: (inout RaftNode) throws -> Void) rethrows {
        let replica = replicas[id - 1]
        guard var node = replica.node else { return }
        replica.node = nil
        defer {
            replica.node = node
            settle(replica)
        }
        try body(&node)
    }

    /// Takes Readies, sends what may leave at once, and checks.
    func settle(_ replica: SimulatedReplica) {
        while replica.node?.hasReady == true, let ready = replica.takeReady() {
            invariants.check(ready, of: replica)
        }
        send(from: replica)
        note(replica)
    }

    private func note(_ replica: SimulatedReplica) {
        events += 1
        for state in replica.takeReadStates() {
            if let commit = pendingReads.removeValue(forKey: state.context) {
                answeredReads += 1
                invariants.read("\(replica.id)", index: state.index, issuedAt: commit)
            }
        }
        for entry in replica.takeApplied() where entry.kind == .normal && entry.payload.count == 8 {
            applied(entry, by: replica)
        }
        invariants.check(replica, of: replicas)
    }

    private func applied(_ entry: RaftEntry, by replica: SimulatedReplica) {
        let content = UInt64(bigEndianBytes: entry.payload.bytes)
        appliedContents[entry.index] = content
        if let receipt = proposed[content], receipt.first == entry.index {
            if receipt.term == entry.term { acknowledged[content] = entry.index }
        }
    }

    private func send(from replica: SimulatedReplica) {
        network += replica.takeOutbox().filter { !cut.contains(Link(from: $0.from, to: $0.to)) }
    }

    func deliver(at place: Int) {
        let message = network.remove(at: place)
        guard !cut.contains(Link(from: message.from, to: message.to)) else { return }
        guard message.to.rawValue <= replicas.count else { return }
        with(Int(message.to.rawValue)) { try? $0.step(message) }
    }

    func persist(_ id: Int) {
        let replica = replicas[id - 1]
        let released = replica.persist()
        invariants.check(released: released, of: replica)
        settle(replica)
    }

    func apply(_ id: Int) {
        let replica = replicas[id - 1]
        replica.apply()
        settle(replica)
    }

    func tick(_ id: Int) { with(id) { $0.tick() } }

    func campaign(_ id: Int) { with(id) { $0.campaign() } }

    /// Proposes new content; answers it, or nil if it was refused.
    @discardableResult
    func propose(_ id: Int) -> UInt64? {
        let content = nextContent
        nextContent += 1
        let payload = RaftPayload(copying: content.bigEndianBytes)
        var receipt: ProposalReceipt?
        with(id) { receipt = try? $0.propose(payload) }
        guard let receipt else { return nil }
        proposed[content] = receipt
        return content
    }

    @discardableResult
    func propose(_ change: ConfigurationChange, at id: Int) -> Bool {
        var isTaken = false
        with(id) { isTaken = (try? $0.propose(change)) != nil }
        return isTaken
    }

    func read(_ id: Int) {
        let context = nextRead
        nextRead += 1
        pendingReads[context] = invariants.highestCommit
        with(id) { try? $0.readIndex(context: context) }
    }

    func crash(_ id: Int, keeping count: Int = 0) {
        replicas[id - 1].crash(keeping: count)
        invariants.forget(replicas[id - 1])
    }

    func restart(_ id: Int) throws {
        try replicas[id - 1].start()
        invariants.forget(replicas[id - 1])
        settle(replicas[id - 1])
    }

    /// Another replica under an old id, as after a disk was changed.
    func replace(_ id: Int, with replica: SimulatedReplica) {
        replicas[id - 1] = replica
        invariants.forget(replica)
    }

    /// Cuts both directions between two sides.
    func partition(_ side: [Int], from others: [Int]) {
        for left in side.map({ ReplicaID(UInt64($0)) }) {
            for right in others.map({ ReplicaID(UInt64($0)) }) {
                cut.insert(Link(from: left, to: right))
                cut.insert(Link(from: right, to: left))
            }
        }
    }

    func isolate(_ id: Int) {
        partition([id], from: replicas.indices.map { $0 + 1 }.filter { $0 != id })
    }

    func heal() { cut.removeAll() }

    // MARK: - Many events

    /// Delivers, writes and applies until nothing is left to do.
    func stabilize(_ ids: [Int]? = nil) {
        let ids = ids ?? replicas.indices.map { $0 + 1 }
        let targets = Set(ids.map { ReplicaID(UInt64($0)) })
        for _ in 0..<10_000 {
            var isBusy = false
            for id in ids {
                while !replicas[id - 1].writes.isEmpty {
                    persist(id)
                    isBusy = true
                }
                while !replicas[id - 1].applies.isEmpty {
                    apply(id)
                    isBusy = true
                }
            }
            while let place = network.firstIndex(where: { targets.contains($0.to) }) {
                deliver(at: place)
                isBusy = true
            }
            if !isBusy { return }
        }
        invariants.report("I16", "it never becomes stable")
    }

    /// So many ticks of everybody, each followed by everything that comes of it.
    func run(ticks: Int) {
        for _ in 0..<ticks {
            for id in replicas.indices { tick(id + 1) }
            stabilize()
        }
    }

    /// Elects a replica and commits its no-op everywhere.
    func elect(_ id: Int) {
        campaign(id)
        stabilize()
    }

    /// The log of a replica as terms, for comparison with figures.
    func terms(_ id: Int) -> [UInt64] {
        let node = node(id)
        var index = node.firstIndex
        var terms: [UInt64] = []
        while index <= node.lastIndex {
            terms.append((try? node.log.term(at: index).rawValue) ?? 0)
            index = index + 1
        }
        return terms
    }

    // MARK: - At the end

    /// I14: what was acknowledged is there once, and nothing is there twice.
    func checkClients() {
        var places: [UInt64: LogIndex] = [:]
        for index in appliedContents.keys.sorted() {
            guard let content = appliedContents[index] else { continue }
            if let other = places[content] {
                invariants.report("I14", "\(content) applied at \(other) and \(index)")
            }
            places[content] = index
        }
        for content in acknowledged.keys.sorted() where places[content] != acknowledged[content] {
            invariants.report("I14", "\(content) was acknowledged and is lost")
        }
    }
}
