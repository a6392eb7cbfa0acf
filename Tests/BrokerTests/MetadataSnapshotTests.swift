import ClusterMetadata
import Simulator
import Testing

@testable import Broker

/// The log of the metadata is cut, and what it said is not lost.
@Suite struct MetadataSnapshotTests {
    private static func agree(_ cluster: NodeCluster) throws {
        try cluster.eventually("all nodes know the same") {
            let known = cluster.machines.map(\.summary)
            return known.allSatisfy { $0 == known[0] && !$0.isEmpty }
        }
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `nodes start from a log that begins with a snapshot`(seed: UInt64) throws {
        let cluster = try NodeCluster(seed: seed, metadataSnapshotRecords: 40)
        try cluster.createTopic("kept", on: [[1, 2, 3], [2, 3, 1]])
        let away = cluster.machine(3)
        for number in 0..<20 {
            if number == 5 { away.kill() }
            try cluster.createTopic("brief-\(number)", on: [[1, 2]])
            try cluster.deleteTopic("brief-\(number)")
        }
        try cluster.createTopic("later", on: [[1, 2]])
        for machine in cluster.up {
            let log = try cluster.metadataLog(on: machine)
            #expect(log.start > 0 && log.end - log.start < 60, "\(log)")
        }
        // One that was away for all of it.
        away.start()
        try away.waitReady()
        try Self.agree(cluster)
        // All at once, from what is in segments and from what is in the log.
        for machine in cluster.machines {
            if machine.id == 2 { machine.kill() } else { try machine.stop() }
        }
        for machine in cluster.machines { machine.start() }
        for machine in cluster.machines { try machine.waitReady() }
        try Self.agree(cluster)
        let known = cluster.machine(3).image.sortedTopics.map(\.name)
        #expect(known.filter { !$0.hasPrefix("__") } == ["kept", "later"])
        #expect(try cluster.metadataLog(on: cluster.machine(3)).start > 0)
        try cluster.createTopic("last", on: [[3, 2, 1]])
    }
}
