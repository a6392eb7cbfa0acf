import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import LogStorage
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import Broker

/// Leadership and replicas that move between whole nodes.
@Suite struct ClusterMovesTests {
    private static let spread: [[Int32]] = [
        [1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3], [3, 2, 1],
    ]

    private static func waitEven(_ cluster: NodeCluster, _ topic: String) throws {
        try cluster.eventually("every node leads its share") {
            cluster.shares(of: topic) == [1: 2, 2: 2, 3: 2]
        }
    }

    /// Every acknowledged record is there, and in the order it was written.
    private static func check(_ load: NodeLoad, _ values: [ByteSlice]) {
        var rest = values[...]
        for value in load.acknowledged {
            guard let place = rest.firstIndex(of: value) else {
                Issue.record("\(value) was acknowledged and is lost or out of order")
                return
            }
            rest = rest[(place + 1)...]
        }
    }

    @Test(arguments: [1, 3] as [UInt64])
    func `a planned stop hands everything over, and the shares are even again after it`(
        seed: UInt64
    ) throws {
        let cluster = try NodeCluster(seed: seed)
        try cluster.createTopic("orders", on: Self.spread)
        try Self.waitEven(cluster, "orders")
        // Together they write a record every ten milliseconds.
        let loads = (0..<6).map {
            NodeLoad(cluster, "orders", Int32($0), pause: .milliseconds(60))
        }
        for load in loads { try load.waitAcknowledged(5) }
        for machine in cluster.machines {
            let took = try machine.stop()
            #expect(took < .seconds(5))
            // Others lead as soon as it is gone.
            let survivor = try #require(cluster.up.first)
            let leaders = survivor.topic("orders")?.partitions.map(\.leadership.leader) ?? []
            #expect(!leaders.contains(machine.id), "\(leaders)")
            #expect(survivor.image.broker(machine.id)?.isStopping == true)
            for load in loads { try load.waitAcknowledged(5) }
            machine.start()
            try machine.waitReady()
            try Self.waitEven(cluster, "orders")
            #expect(survivor.image.broker(machine.id)?.isUsable == true)
        }
        for load in loads { try load.finish() }
        for (index, load) in loads.enumerated() {
            #expect(Set(load.errors.keys).isSubset(of: [.notLeaderOrFollower]), "\(load.errors)")
            let leader = try #require(cluster.machine(1).partition("orders", Int32(index)))
                .leadership.leader
            Self.check(
                load,
                try cluster.content(of: "orders", Int32(index), on: cluster.machine(leader))
            )
        }
    }

    @Test func `a new partition begins with all of its replicas in sync`() throws {
        let cluster = try NodeCluster(seed: 4)
        let witness = cluster.machine(1)
        for number in 0..<10 {
            let topic = "orders-\(number)"
            try cluster.createTopic(topic, on: [[1, 2, 3]])
            let known = { witness.partition(topic)?.leadership }
            try cluster.eventually("it is led", seconds: 5) { (known()?.leader ?? -1) > 0 }
            #expect(known()?.inSync.sorted() == [1, 2, 3])
        }
    }

    @Test func `replicas in sync are those that have caught up`() throws {
        let cluster = try NodeCluster(seed: 4)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let witness = cluster.machine(1)
        let inSync = { witness.partition("orders")?.leadership.inSync.sorted() }
        try cluster.eventually("all are in sync", seconds: 5) { inSync() == [1, 2, 3] }
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(10)
        cluster.machine(3).kill()
        try cluster.eventually("a dead replica drops out", seconds: 5) { inSync() == [1, 2] }
        try load.waitAcknowledged(10)
        cluster.machine(3).start()
        try cluster.eventually("it has caught up", seconds: 20) { inSync() == [1, 2, 3] }
        try load.finish()
    }

    @Test func `nothing is written while nothing happens`() throws {
        let cluster = try NodeCluster(seed: 5)
        try cluster.createTopic("orders", on: Self.spread)
        try Self.waitEven(cluster, "orders")
        _ = cluster.simulation.run(for: .seconds(20))
        let end = { try cluster.metadataLog(on: cluster.machine(1)).end }
        let before = try end()
        _ = cluster.simulation.run(for: .seconds(60))
        #expect(try end() == before)
    }

    @Test(arguments: [6, 7, 8, 9] as [UInt64])
    func `a partition moves under load and keeps its records`(seed: UInt64) throws {
        let cluster = try NodeCluster(seed: seed)
        try cluster.createTopic("orders", on: [[1, 2]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(30)
        // The leader leaves; all but one leave; both are others; those that left come back.
        for target: [Int32] in [[2, 3], [3], [1, 2], [3, 2, 1]] {
            #expect(try cluster.reassign("orders", to: target) == ErrorCode.none)
            try cluster.waitPlaced("orders", on: target)
            try load.waitAcknowledged(10)
        }
        try load.finish()
        #expect(Set(load.errors.keys).isSubset(of: [.notLeaderOrFollower]), "\(load.errors)")
        for machine in cluster.machines {
            Self.check(load, try cluster.content(of: "orders", on: machine))
        }
    }

    @Test func `who is left knows after a crash that the others have left`() throws {
        let cluster = try NodeCluster(seed: 26)
        try cluster.createTopic("orders", on: [[1, 2]])
        let witness = cluster.machine(3)
        let leader = { witness.partition("orders")?.leadership.leader ?? -1 }
        try cluster.eventually("it is led", seconds: 5) { leader() == 1 }
        #expect(try cluster.reassign("orders", to: [1]) == ErrorCode.none)
        try cluster.waitPlaced("orders", on: [1])
        cluster.machine(1).kill()
        cluster.machine(1).start()
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(1)
        try load.finish()
    }

    @Test(arguments: [26, 27, 28] as [UInt64])
    func `who came back keeps its records through a crash, whatever old metadata says`(
        seed: UInt64
    ) throws {
        let cluster = try NodeCluster(seed: seed)
        try cluster.createTopic("orders", on: [[3, 1]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(10)
        for target: [Int32] in [[1], [3]] {
            #expect(try cluster.reassign("orders", to: target) == ErrorCode.none)
            try cluster.waitPlaced("orders", on: target)
            try load.waitAcknowledged(10)
        }
        cluster.machine(3).kill()
        cluster.machine(3).start()
        try cluster.machine(3).waitReady()
        try load.waitAcknowledged(10)
        try load.finish()
        Self.check(load, try cluster.content(of: "orders", on: cluster.machine(3)))
    }

    @Test func `a new leader adds whom its group lacks, though no move is known any more`() throws {
        // A move is taken back after the group has carried it out and before that was reported; then
        // its leader dies. For the metadata everything is as it was.
        let cluster = try NodeCluster(seed: 27)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        try cluster.waitPlaced("orders", on: [1, 2, 3])
        let leader = cluster.machine(1)
        #expect(leader.partition("orders")?.leadership.leader == 1)
        let shards = try #require(leader.node).admin.shards
        try cluster.perform { _ in
            for shard in shards {
                _ = await shard.readEach { partition in
                    guard partition.id.topic == "orders" else { return }
                    _ = try? partition.replica.proposeChange(
                        ConfigurationChange([.init(.removeReplica, ReplicaID(3))])
                    )
                }
            }
        }
        try cluster.eventually("it has left", seconds: 10) {
            leader.partition("orders")?.leadership.inSync.sorted() == [1, 2]
        }
        leader.kill()
        leader.start()
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(1)
        try cluster.waitPlaced("orders", on: [1, 2, 3])
        try load.finish()
    }

    @Test(arguments: [10, 11, 12, 13] as [UInt64])
    func `a move survives the end of its leader and of who joins`(seed: UInt64) throws {
        let cluster = try NodeCluster(seed: seed)
        try cluster.createTopic("orders", on: [[1, 2]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(20)
        #expect(try cluster.reassign("orders", to: [3, 2]) == ErrorCode.none)
        _ = cluster.simulation.run(for: .milliseconds(Int64(seed - 9) * 60))
        cluster.machine(1).kill()
        _ = cluster.simulation.run(for: .milliseconds(100))
        cluster.machine(1).start()
        try cluster.machine(1).waitReady()
        cluster.machine(3).kill()
        _ = cluster.simulation.run(for: .milliseconds(100))
        cluster.machine(3).start()
        try cluster.machine(3).waitReady()
        try cluster.waitPlaced("orders", on: [3, 2])
        try load.waitAcknowledged(10)
        try load.finish()
        for id: Int32 in [2, 3] {
            Self.check(load, try cluster.content(of: "orders", on: cluster.machine(id)))
        }
    }

    @Test func `a move is taken back, and nonsense is refused`() throws {
        let cluster = try NodeCluster(seed: 14)
        try cluster.createTopic("orders", on: [[1, 2]])
        #expect(try cluster.reassign("orders", to: nil) == .noReassignmentInProgress)
        #expect(try cluster.reassign("orders", to: [1, 1]) == .invalidReplicaAssignment)
        #expect(try cluster.reassign("orders", to: [1, 9]) == .invalidReplicaAssignment)
        #expect(try cluster.reassign("nothing", to: [1]) == .unknownTopicOrPartition)
        cluster.machine(3).kill()
        #expect(try cluster.reassign("orders", to: [3, 2]) == ErrorCode.none)
        let list = ListPartitionReassignmentsRequest()
        let moving = try cluster.ask(list, version: 0).topics.first?.partitions.first
        #expect(moving?.addingReplicas == [3] && moving?.removingReplicas == [1])
        #expect(try cluster.reassign("orders", to: nil) == ErrorCode.none)
        cluster.machine(3).start()
        try cluster.machine(3).waitReady()
        try cluster.waitPlaced("orders", on: [1, 2])
        #expect(try cluster.ask(list, version: 0).topics.isEmpty)
    }

    @Test func `what a crash left of a deleted topic goes, and nothing else`() throws {
        let cluster = try NodeCluster(seed: 16)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        try cluster.createTopic("left", on: [[1, 2]])
        let third = cluster.machine(3)
        let id = try #require(third.topic("left")).id
        // What it has goes into files when it stops.
        try cluster.machine(1).stop()
        cluster.machine(1).start()
        try cluster.machine(1).waitReady()
        try third.stop()
        // As after a removal that was cut short; another is of nobody it knows.
        let left = "/data/topics/left-0"
        third.damage = { disk in
            try disk.createDirectory(left)
            try disk.replaceAtomically(
                left + "/partition.metadata",
                with: ByteSlice("version: 0\ntopic_id: \(id)\n")
            )
            for name in ["gone-7", "notes", "copy-1"] {
                try disk.createDirectory("/data/topics/" + name)
            }
            try disk.replaceAtomically("/data/topics/copy-1/checkpoint", with: ByteSlice("mine"))
        }
        third.start()
        try third.waitReady()
        try cluster.eventually("what was left is gone") {
            !third.hasFiles(of: "left") && !third.hasFiles(of: "gone", 7)
        }
        #expect(third.hasFiles(of: "orders") && third.hasFiles(of: "__chronik_metadata"))
        #expect(third.disk.exists("/data/topics/notes"))
        #expect(third.hasFiles(of: "copy", 1))
        #expect(cluster.machine(1).hasFiles(of: "left"))
    }

    @Test func `a node whose data is lost but not its log fetches it again`() throws {
        let cluster = try NodeCluster(seed: 17)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(30)
        let third = cluster.machine(3)
        // Everything is in segments then, and in a new term the log says that it begins behind it.
        for machine in [third, cluster.machine(1)] {
            try machine.stop()
            try load.waitAcknowledged(10)
            machine.start()
            try machine.waitReady()
        }
        try third.stop()
        third.damage = { try $0.removeTree("/data/topics") }
        third.start()
        try third.waitReady()
        try cluster.waitPlaced("orders", on: [1, 2, 3])
        try load.waitAcknowledged(10)
        try load.finish()
        Self.check(load, try cluster.content(of: "orders", on: third))
        try cluster.createTopic("later", on: [[3, 1, 2]])
    }

    @Test func `a founder that lost all it wrote to damage does not begin anew`() throws {
        let cluster = try NodeCluster(seed: 18)
        try cluster.createTopic("before", on: [[1, 2, 3]])
        let third = cluster.machine(3)
        let begin = try third.endsOfLog()
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(5)
        try load.finish()
        try cluster.waitPlaced("orders", on: [1, 2, 3])
        // What is committed it writes down along with something else.
        try cluster.createTopic("between", on: [[1, 2, 3]])
        _ = cluster.simulation.run(for: .seconds(5))
        let end = try third.endsOfLog()
        // What lies behind shows that this was durable once.
        try cluster.createTopic("after", on: [[1, 2, 3]])
        let terms = try cluster.terms(of: "orders")
        third.kill()
        third.damage = { Self.damage($0, from: begin, to: end) }
        third.start()
        try third.waitReady()
        // It may have voted in any term that the log has seen, so it takes part in none of them.
        try cluster.eventually("the group is in a term above them") {
            (try? cluster.terms(of: "orders"))?.allSatisfy { $0 > terms[0] } == true
        }
        let later = NodeLoad(cluster, "orders")
        try later.waitAcknowledged(5)
        try later.finish()
        let content = try cluster.content(of: "orders", on: third)
        Self.check(load, content)
        Self.check(later, content)
        // What is made now cannot have lost anything.
        try cluster.createTopic("alone", on: [[3]])
        let alone = NodeLoad(cluster, "alone")
        try alone.waitAcknowledged(1)
        try alone.finish()
    }

    @Test func `a single node whose log is gone does not begin anew beside its topics`() throws {
        let cluster = try NodeCluster(1, seed: 20)
        try cluster.createTopic("orders", on: [[1]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(5)
        try load.finish()
        let only = cluster.machine(1)
        only.kill()
        only.damage = { try $0.removeTree("/data/wal") }
        // The second time there is a log, which the first has made.
        for _ in 1...2 {
            only.start()
            #expect(throws: NodeProblem.self) { try only.waitReady() }
            only.kill()
        }
    }

    @Test func `a single node that lost the metadata to damage does not begin anew`() throws {
        let cluster = try NodeCluster(1, seed: 20)
        try cluster.createTopic("orders", on: [[1]])
        let only = cluster.machine(1)
        _ = try Self.loseMetadata(of: only, in: cluster)
        only.start()
        #expect(throws: RecoveryProblem.self) { try only.waitReady() }
    }

    /// The files of the log, each from there, or from its header, to there.
    private static func damage(
        _ disk: SimulatedFileSystem,
        from begin: [String: Int] = [:],
        to end: [String: Int]
    ) {
        for (path, end) in end {
            disk.damage(path) { bytes in
                for at in stride(from: begin[path] ?? 4096, to: end, by: 512) { bytes[at] ^= 0x55 }
            }
        }
    }

    /// Kills a node and damages all its log has but the last records of the topic, told by the load.
    private static func loseMetadata(
        of machine: Machine,
        in cluster: NodeCluster
    ) throws -> NodeLoad {
        _ = cluster.simulation.run(for: .seconds(5))
        let end = try machine.endsOfLog()
        // Records of this topic alone lie behind.
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(5)
        try load.finish()
        machine.kill()
        machine.damage = { damage($0, to: end) }
        return load
    }

    @Test func `a node that lost all it wrote of the metadata to damage is filled again`() throws {
        let cluster = try NodeCluster(seed: 19)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let third = cluster.machine(3)
        let load = try Self.loseMetadata(of: third, in: cluster)
        third.start()
        try third.waitReady()
        try cluster.eventually("it knows the topics again") { third.topic("orders") != nil }
        try cluster.createTopic("later", on: [[3, 1, 2]])
        let later = NodeLoad(cluster, "orders")
        try later.waitAcknowledged(5)
        try later.finish()
        let content = try cluster.content(of: "orders", on: third)
        Self.check(load, content)
        Self.check(later, content)
    }

    @Test func `a deleted topic is gone from every node, from one that was away too`() throws {
        let cluster = try NodeCluster(seed: 15)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(10)
        try load.finish()
        cluster.machine(3).kill()
        try cluster.deleteTopic("orders")
        cluster.machine(3).start()
        try cluster.machine(3).waitReady()
        try cluster.eventually("no node has anything of it") {
            cluster.machines.allSatisfy { $0.topic("orders") == nil && !$0.hasFiles(of: "orders") }
        }
        for machine in cluster.machines {
            var part = FetchRequest.FetchPartition()
            part.partitionMaxBytes = 1 << 20
            var entry = FetchRequest.FetchTopic()
            entry.topic = "orders"
            entry.partitions = [part]
            var fetch = FetchRequest()
            fetch.topics = [entry]
            let answer = try cluster.ask(fetch, version: 11, of: machine)
            #expect(
                answer.responses.first?.partitions.first?.errorCode
                    == ErrorCode.unknownTopicOrPartition.rawValue
            )
        }
    }
}
