import Bytes
import Platform
import Raft
import Testing

@testable import RaftRuntime

@Suite struct ClusterTests {
    @Test func `three replicas elect a leader and replicate`() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        for number in 0..<20 { try cluster.write(1, "key \(number)", "\(number)") }
        #expect(cluster.run(2_000) { cluster.isWhole() })
        for node in cluster.nodes { #expect(node.values().count == 20) }
        #expect(cluster.followers().count == 2)
        for node in cluster.followers() {
            #expect(node.replica()?.info.leader == leader.id)
        }
        #expect(cluster.ledger.disagreements.isEmpty)
    }
}
