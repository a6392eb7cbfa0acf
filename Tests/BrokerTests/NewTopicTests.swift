import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform
import RaftRuntime
import Simulator
import Testing

@testable import Broker

/// What clients are told of a topic that is only just made.
@Suite struct NewTopicTests {
    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func `who is about to lead is named, and nobody any more once that node is silent`(
        seed: UInt64
    ) throws {
        let cluster = try NodeCluster(seed: seed)
        let controller = try cluster.told(of: [], by: cluster.machine(1)).controllerId
        let others = cluster.machines.filter { $0.id != controller }
        let (asked, dead) = (others[0], others[1])
        dead.kill()
        // It is the only one that could lead, and the others do not miss it yet.
        try cluster.makeTopics(["t"], on: [[dead.id]], through: asked)
        let early = try cluster.told(of: ["t"], by: asked).topics.flatMap(\.partitions)
        #expect(early.map(\.leaderId) == [dead.id])
        #expect(early.map(\.leaderEpoch) == [-1])
        #expect(early.map(\.errorCode) == [ErrorCode.none.rawValue])
        try cluster.eventually("it is missed") {
            asked.image.broker(dead.id).map(\.isFenced) ?? false
        }
        let late = try cluster.told(of: ["t"], by: asked).topics.flatMap(\.partitions)
        #expect(late.map(\.leaderId) == [-1])
        #expect(late.map(\.errorCode) == [ErrorCode.leaderNotAvailable.rawValue])
    }

    @Test func `as soon as a topic is made, every partition of it has a leader to go to`() throws {
        let cluster = try NodeCluster(seed: 4)
        let asked = cluster.machine(1)
        for number in 0..<20 {
            let name = "t\(number)"
            let replicas: [[Int32]] = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
            try cluster.makeTopics([name], on: replicas, through: asked)
            let told = try cluster.told(of: [name], by: asked)
            #expect(told.topics.flatMap(\.partitions).map(\.leaderId) == [1, 2, 3])
        }
    }

    @Test func `nodes are at rest again soon after topics are deleted`() throws {
        let cluster = try NodeCluster(seed: 6)
        let names = (0..<6).map { "t\($0)" }
        for name in names { try cluster.createTopic(name, on: [[1, 2, 3], [2, 3, 1]]) }
        let managers = try cluster.machines.flatMap {
            try #require($0.node).admin.shards.map(\.manager)
        }
        let needTicks = managers.contains { $0.keepsTime }
        #expect(needTicks)
        for name in names { try cluster.deleteTopic(name) }
        try cluster.eventually("nothing needs ticks", seconds: 5) {
            !managers.contains { $0.keepsTime }
        }
    }

    @Test func `groups that are founded one after another are elected together`() throws {
        let cluster = try NodeCluster(seed: 5)
        let controller = try cluster.told(of: [], by: cluster.machine(1)).controllerId
        let names = (0..<6).map { "t\($0)" }
        try cluster.makeTopics(names, on: [[1, 2, 3]], through: cluster.machine(controller))
        var elected: [TopicPartition: Int64] = [:]
        let shards = try #require(cluster.machine(1).node).admin.shards
        while elected.count < 6 {
            _ = cluster.simulation.run(for: .milliseconds(1))
            let led = try cluster.perform { _ in
                var led: [TopicPartition] = []
                for shard in shards {
                    led += await shard.readEach { $0.leaderEpoch }.filter { $0.value != nil }.keys
                }
                return led
            }
            for id in led where elected[id] == nil && id.topic.hasPrefix("t") {
                elected[id] = cluster.simulation.clock.monotonicNanoseconds / 1_000_000
            }
        }
        // The first of each of the node's two loops at once, the others after a rest.
        let times = elected.values.sorted()
        #expect(times[1] - times[0] <= 2)
        #expect(times[2] - times[1] >= 10)
        #expect(times[5] - times[2] <= 2)
    }
}
