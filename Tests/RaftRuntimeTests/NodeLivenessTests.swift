import Raft
import Testing

@testable import RaftRuntime

@Suite struct NodeLivenessTests {
    private static let peer = ReplicaID(2)

    private static func beat(_ sequence: UInt64, of incarnation: UInt64) -> NodeBeat {
        NodeBeat(sequence: sequence, answered: 0, incarnation: incarnation)
    }

    private static func following() -> NodeLiveness {
        var liveness = NodeLiveness(incarnation: 1, patience: 4)
        liveness.follow([peer])
        return liveness
    }

    @Test func `a late beat of an earlier life says nothing`() {
        var liveness = Self.following()
        _ = liveness.tick()
        _ = liveness.received(Self.beat(9, of: 10), from: Self.peer)
        let restart = liveness.received(Self.beat(1, of: 20), from: Self.peer)
        #expect(restart?.restarted == [Self.peer])
        let late = liveness.received(Self.beat(10, of: 10), from: Self.peer)
        #expect(late == nil)
        #expect(liveness.heardPeers == [Self.peer: 20])
    }

    @Test func `a node is heard again after a later process under its id has gone`() {
        var liveness = Self.following()
        _ = liveness.tick()
        _ = liveness.received(Self.beat(1, of: 10), from: Self.peer)
        _ = liveness.received(Self.beat(1, of: 20), from: Self.peer)
        for _ in 0..<6 {
            _ = liveness.tick()
            _ = liveness.change()
        }
        #expect(liveness.heardPeers.isEmpty)
        let back = liveness.received(Self.beat(8, of: 10), from: Self.peer)
        #expect(back?.view.isHeard(Self.peer) == true)
        #expect(back?.restarted == [Self.peer])
        #expect(liveness.heardPeers == [Self.peer: 10])
    }
}
