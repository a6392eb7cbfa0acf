import Bytes
import Platform
import Raft
import Simulator
import Testing
import WriteAheadLog

@testable import RaftRuntime

/// Three nodes, or two, with some groups each, over the WAL on simulated disks that may be damaged.
///
/// What any replica applies is held against what any other applied at that index.
final class DamagedCluster {
    /// A mistake to be found.
    enum Plant {
        case none
        /// Damage is noticed and the replica votes all the same.
        case votesWithoutItsEntries
    }

    let members: [ReplicaID]
    private let simulation: Simulation
    private let plant: Plant
    private let groups: ClosedRange<UInt64>
    private(set) var nodes: [DamagedNode] = []
    private var generator: SeededGenerator
    private var applied: [UInt64: [LogIndex: [UInt8]]] = [:]
    /// Applied entries that were not what another replica applied; nothing moves after the first.
    private(set) var contradictions = 0
    /// Terms in which two replicas of a group led.
    private(set) var rivals = 0
    private var leaders: [UInt64: [Term: ReplicaID]] = [:]
    /// Who cannot be reached.
    var cutOff: Set<ReplicaID> = []
    private var number = 0

    init(seed: UInt64, voters: UInt64 = 3, groups: UInt64 = 3, plant: Plant = .none) throws {
        members = (1...voters).map { ReplicaID($0) }
        simulation = Simulation(seed: seed)
        generator = SeededGenerator(seed: seed)
        self.plant = plant
        self.groups = 1...groups
        for id in members {
            let disk = SimulatedFileSystem(simulation)
            nodes.append(DamagedNode(id, disk))
            try start(id, isNew: true)
        }
    }

    func node(_ id: ReplicaID) -> DamagedNode { nodes[Int(id.rawValue) - 1] }

    /// Starts a node, or starts it again; its process is gone without a word.
    func start(_ id: ReplicaID, isNew: Bool = false) throws {
        let node = node(id)
        if !isNew {
            node.disk.cutPower()
            node.disk.powerOn()
        }
        let platform = SimulatedPlatform(simulation, host: "\(id)", files: node.disk)
        let recovered = RecoveredGroups(replica: id)
        let opened = try StorageNode(platform, directory: "/wal", recovered: recovered)
        node.opened = opened
        node.replicas = [:]
        for group in groups {
            let storage = try recovered.storage(
                of: group,
                membership: Membership(voters: members),
                isNew: isNew
            )
            try storage.finishRecovery(applied: .zero, term: .zero)
            _ = try opened.entries(storage)
            let raft = try RaftNode(
                configuration: RaftNode.Configuration(id: id, randomSeed: generator.next()),
                log: storage,
                hardState: storage.hardState,
                membership: storage.base.membership,
                abstainUntilTerm: plant == .none ? storage.abstention?.until : nil
            )
            node.replicas[group] = DamagedReplica(raft, storage)
        }
        node.damage = recovered.damage
    }

    // MARK: Moving

    /// Ticks, delivers and writes until nothing is left to deliver, `rounds` times.
    func run(_ rounds: Int) {
        for _ in 0..<rounds {
            for node in nodes where !cutOff.contains(node.id) {
                for group in groups { node.replicas[group]?.raft.tick() }
            }
            settle()
        }
    }

    func settle() {
        var rounds = 0
        while true {
            var messages: [(UInt64, Message)] = []
            for node in nodes where !cutOff.contains(node.id) {
                for group in groups { messages += process(group, node) }
            }
            guard !messages.isEmpty else { return }
            rounds += 1
            // Replicas that contradict each other in what they have committed never come to rest.
            guard contradictions == 0, rounds < 1000 else {
                contradictions += 1
                return
            }
            for (group, message) in messages
            where !cutOff.contains(message.to) && !cutOff.contains(message.from) {
                try? node(message.to).replicas[group]?.raft.step(message)
            }
        }
    }

    private func process(_ group: UInt64, _ node: DamagedNode) -> [(UInt64, Message)] {
        guard let replica = node.replicas[group], let opened = node.opened else { return [] }
        var messages: [Message] = []
        while replica.raft.hasReady || replica.storage.hasPending {
            let ready = replica.raft.ready()
            messages += ready.messages
            replica.storage.append(ready.entries)
            if let state = ready.hardState { replica.storage.setHardState(state) }
            if !replica.raft.isAbstaining { replica.storage.endAbstention() }
            nonisolated(unsafe) var isDurable = false
            opened.write([replica.storage], on: opened.platform.loops[0]) { isDurable = true }
            let wasWritten = simulation.run(for: .seconds(10)) { isDurable }
            precondition(wasWritten, "node \(node.id) cannot write")
            replica.raft.onPersisted(ready.number)
            messages += ready.persistedMessages
            for entry in ready.committedEntries { apply(entry, group) }
            if let last = ready.committedEntries.last { replica.raft.onApplied(last.index) }
        }
        let status = replica.raft.status
        if status.role == .leader {
            let known = leaders[group, default: [:]].updateValue(node.id, forKey: status.term)
            if let known, known != node.id { rivals += 1 }
        }
        return messages.map { (group, $0) }
    }

    private func apply(_ entry: RaftEntry, _ group: UInt64) {
        let content = Array("\(entry.term) ".utf8) + entry.payload.bytes
        if let known = applied[group]?[entry.index] {
            if known != content { contradictions += 1 }
        } else {
            applied[group, default: [:]][entry.index] = content
        }
    }

    // MARK: Asking

    func leader(of group: UInt64) -> ReplicaID? {
        nodes.filter { !cutOff.contains($0.id) }
            .first { $0.replicas[group]?.raft.status.role == .leader }?.id
    }

    /// Runs until every group has a leader that can be reached; false if that takes too long.
    func elect() -> Bool {
        for _ in 0..<200 {
            if groups.allSatisfy({ leader(of: $0) != nil }) { return true }
            run(1)
        }
        return false
    }

    func campaign(_ id: ReplicaID) {
        for group in groups { node(id).replicas[group]?.raft.campaign() }
        settle()
    }

    func propose(_ group: UInt64, _ count: Int = 1) {
        for _ in 0..<count {
            number += 1
            guard let leader = leader(of: group) else { return }
            let payload = RaftPayload(copying: Array("entry \(number)".utf8))
            _ = try? node(leader).replicas[group]?.raft.propose(payload)
            settle()
        }
    }

    /// Whether all replicas have applied everything that any has.
    var isWhole: Bool {
        groups.allSatisfy { group in
            let last = applied[group]?.keys.max() ?? .zero
            return nodes.allSatisfy { $0.replicas[group]?.raft.status.applied == last }
        }
    }
}

/// A node of a cluster: its disk, and what runs on it.
final class DamagedNode {
    let id: ReplicaID
    let disk: SimulatedFileSystem
    var opened: StorageNode?
    var replicas: [UInt64: DamagedReplica] = [:]
    var damage: [WALDamage] = []

    init(_ id: ReplicaID, _ disk: SimulatedFileSystem) {
        self.id = id
        self.disk = disk
    }

    var abstaining: Int { replicas.values.count { $0.raft.isAbstaining } }

    /// Destroys one block in use, but not the last ones: with nothing behind it, what is damaged
    /// looks as if it had never been written.
    func damage(_ generator: inout SeededGenerator) {
        let files = disk.paths.filter { $0.hasSuffix(".wal") }.sorted()
        var blocks: [(path: String, offset: Int)] = []
        for path in files {
            let bytes = disk.contents(path)
            for offset in stride(from: 4096, to: bytes.count, by: 4096)
            where bytes[offset..<min(offset + 56, bytes.count)].contains(where: { $0 != 0 }) {
                blocks.append((path, offset))
            }
        }
        guard blocks.count > 2 else { return }
        let block = blocks[generator.below(blocks.count - 1)]
        disk.damage(block.path) { bytes in
            let end = min(block.offset + 4096, bytes.count)
            for place in block.offset..<end { bytes[place] ^= 0x5A }
        }
    }
}

/// A replica of a group.
final class DamagedReplica {
    var raft: RaftNode
    let storage: WALRaftStorage

    init(_ raft: RaftNode, _ storage: WALRaftStorage) {
        self.raft = raft
        self.storage = storage
    }
}
