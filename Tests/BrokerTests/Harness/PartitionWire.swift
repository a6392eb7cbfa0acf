import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator

/// What lies between the nodes of a ``PartitionCluster``: ordered streams, which may be cut.
final class PartitionWire: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private struct Link: Hashable {
        let from: ReplicaID
        let to: ReplicaID
    }

    private let simulation: Simulation
    private var generator: SeededGenerator
    private var ends: [ReplicaID: RaftDispatcher] = [:]
    private var lives: [ReplicaID: Int] = [:]
    private var cut: Set<Link> = []
    private var lastArrival: [Link: [PeerFrame.Stream: Int64]] = [:]
    private(set) var snapshotBytes = 0
    /// Asked about each message; false loses it.
    var passes: ((GroupMessage) -> Bool)?

    init(_ simulation: Simulation) {
        self.simulation = simulation
        generator = simulation.makeGenerator()
    }

    func connect(_ id: ReplicaID, _ dispatcher: RaftDispatcher) {
        ends[id] = dispatcher
        lives[id, default: 0] += 1
    }

    func disconnect(_ id: ReplicaID) {
        ends[id] = nil
        lives[id, default: 0] += 1
    }

    func isolate(_ id: ReplicaID, from others: [ReplicaID]) {
        for other in others where other != id {
            cut.insert(Link(from: id, to: other))
            cut.insert(Link(from: other, to: id))
        }
    }

    func heal() { cut = [] }

    func send(_ frame: PeerFrame, from: ReplicaID, to: ReplicaID) {
        var frame = frame
        if case .snapshotChunk(let chunk) = frame { snapshotBytes += chunk.bytes.count }
        if case .messages(let messages) = frame, let passes {
            frame = .messages(messages.filter(passes))
        }
        let link = Link(from: from, to: to)
        guard !cut.contains(link), ends[to] != nil else { return }
        let now = simulation.clock.now
        var arrival = now + 20_000 + Int64(generator.below(300_000))
        arrival = max(arrival, lastArrival[link]?[frame.stream] ?? 0)
        lastArrival[link, default: [:]][frame.stream] = arrival
        let life = lives[to]
        let arrived = frame
        simulation.after(arrival - now) { [self] in
            guard life == lives[to], !cut.contains(link) else { return }
            ends[to]?.received(arrived, from: from)
        }
    }
}

/// A node's end of the wire.
final class PartitionWireEnd: RaftTransport, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let wire: PartitionWire
    private let id: ReplicaID

    init(_ wire: PartitionWire, from id: ReplicaID) {
        self.wire = wire
        self.id = id
    }

    func send(_ frame: PeerFrame, to peer: ReplicaID) { wire.send(frame, from: id, to: peer) }
}
