import Platform
import Raft
import RaftRuntime
import RaftTransport
import Synchronization

/// Carries frames between nodes of this process, and counts what they would be on a real wire.
final class MemoryWire: Sendable {
    struct Counts: Sendable {
        var frames = 0
        var bytes = 0

        func since(_ earlier: Counts) -> Counts {
            Counts(frames: frames - earlier.frames, bytes: bytes - earlier.bytes)
        }
    }

    private let frames = Counter()
    private let bytes = Counter()
    private let ends = Mutex<[ReplicaID: any RaftTransportDelegate]>([:])

    var counts: Counts { Counts(frames: Int(frames.current), bytes: Int(bytes.current)) }

    func connect(_ id: ReplicaID, _ delegate: any RaftTransportDelegate) {
        ends.withLock { $0[id] = delegate }
    }

    /// Nothing arrives anywhere any more.
    func cut() { ends.withLock { $0 = [:] } }

    func end(of id: ReplicaID) -> any RaftTransport { End(self, id) }

    private final class End: RaftTransport {
        private let wire: MemoryWire
        private let id: ReplicaID

        init(_ wire: MemoryWire, _ id: ReplicaID) {
            self.wire = wire
            self.id = id
        }

        func send(_ frame: PeerFrame, to peer: ReplicaID) {
            wire.frames.increment()
            wire.bytes.increment(by: frame.encodedBytes)
            wire.ends.withLock { $0[peer] }?.received(frame, from: id)
        }
    }
}
