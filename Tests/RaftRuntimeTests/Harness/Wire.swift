import Bytes
import Platform
import Raft
import Simulator

@testable import RaftRuntime

/// What lies between the nodes of a ``Cluster``: ordered streams, until told otherwise.
final class Wire: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private struct Link: Hashable {
        let from: ReplicaID
        let to: ReplicaID
    }

    /// In a hundred frames.
    var lossPercent = 0
    var duplicationPercent = 0
    /// Frames overtake one another.
    var reorders = false
    /// Virtual nanoseconds a frame takes at most.
    var maxDelay: Int64 = 300_000
    private var cut: Set<Link> = []
    private var ends: [ReplicaID: RaftDispatcher] = [:]
    private var lives: [ReplicaID: Int] = [:]
    private var lastArrival: [Link: [PeerFrame.Stream: Int64]] = [:]
    private let simulation: Simulation
    private var generator: SeededGenerator

    private(set) var frames: [PeerFrame.Stream: Int] = [:]
    private(set) var groupMessages = 0
    private(set) var snapshotBytes = 0
    /// Asked about each message; false loses it.
    var passes: ((GroupMessage, _ from: ReplicaID) -> Bool)?

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

    // MARK: Partitions

    func cut(_ from: ReplicaID, _ to: ReplicaID) { cut.insert(Link(from: from, to: to)) }

    func isolate(_ id: ReplicaID, from others: [ReplicaID]) {
        for other in others where other != id {
            cut(id, other)
            cut(other, id)
        }
    }

    func heal() { cut = [] }

    func resetCounts() {
        frames = [:]
        groupMessages = 0
        snapshotBytes = 0
    }

    // MARK: Frames

    func send(_ frame: PeerFrame, from: ReplicaID, to: ReplicaID) {
        frames[frame.stream, default: 0] += 1
        var frame = frame
        switch frame {
        case .messages(let messages):
            groupMessages += messages.count
            if let passes { frame = .messages(messages.filter { passes($0, from) }) }
        case .snapshotChunk(let chunk): snapshotBytes += chunk.bytes.count
        default: break
        }
        let link = Link(from: from, to: to)
        guard !cut.contains(link), ends[to] != nil, generator.below(100) >= lossPercent else {
            return
        }
        deliver(frame, link)
        if generator.below(100) < duplicationPercent { deliver(frame, link) }
    }

    private func deliver(_ frame: PeerFrame, _ link: Link) {
        let now = simulation.clock.now
        var arrival = now + 20_000 + Int64(generator.below(Int(maxDelay)))
        if !reorders {
            arrival = max(arrival, lastArrival[link]?[frame.stream] ?? 0)
            lastArrival[link, default: [:]][frame.stream] = arrival
        }
        let life = lives[link.to]
        simulation.after(arrival - now) { [self] in
            guard life == lives[link.to], !cut.contains(link) else { return }
            ends[link.to]?.received(frame, from: link.from)
        }
    }
}

/// A node's end of the wire.
final class WireEnd: RaftTransport, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let wire: Wire
    private let id: ReplicaID

    init(_ wire: Wire, from id: ReplicaID) {
        self.wire = wire
        self.id = id
    }

    func send(_ frame: PeerFrame, to peer: ReplicaID) { wire.send(frame, from: id, to: peer) }
}
