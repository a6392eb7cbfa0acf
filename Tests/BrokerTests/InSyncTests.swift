import ClusterMetadata
import KafkaProtocol
import Platform
import RaftRuntime
import Simulator
import Synchronization
import Testing

@testable import Broker
@testable import Raft

/// Which replicas are said to be in sync: those that have what the leader has.
@Suite struct InSyncTests {
    private static let ids = [ReplicaID(1), ReplicaID(2), ReplicaID(3)]
    private static let peers = PeerView(heard: [ids[1], ids[2]], linked: [ids[1], ids[2]])

    /// What a leader with `last` entries knows, its second follower having `match` of them.
    private static func status(
        last: UInt64,
        match: UInt64,
        _ state: PeerStatus.State = .replicate
    ) throws -> RaftStatus {
        let node = try RaftNode(
            configuration: .init(id: ids[0], randomSeed: 1),
            log: EmptyLog(),
            membership: Membership(voters: ids)
        )
        var status = node.status
        status.role = .leader
        status.lastIndex = LogIndex(last)
        status.peers = ids.map { id in
            let isLate = id == ids[2]
            return PeerStatus(
                id: id,
                match: LogIndex(isLate ? match : last),
                next: LogIndex(last + 1),
                state: isLate ? state : .replicate,
                inflightMessages: 0,
                inflightBytes: 0,
                isPaused: false,
                isRecentlyActive: true,
                isLearner: false
            )
        }
        return status
    }

    private final class EmptyLog: RaftLogReader {
        var firstIndex: LogIndex { LogIndex(1) }
        var lastIndex: LogIndex { .zero }
        func term(at index: LogIndex) throws(RaftLogReadError) -> Term { .zero }
        func entries(
            in range: Range<LogIndex>,
            maxBytes: Int
        ) throws(RaftLogReadError) -> [RaftEntry] { [] }
        func snapshot() throws(RaftLogReadError) -> Snapshot { throw .temporarilyUnavailable }
    }

    private static func watch() -> InSyncWatch {
        InSyncWatch(mark: LogIndex(100), inSync: ids, at: 0)
    }

    @Test func `load does not make a replica that lags a little come and go`() throws {
        var watch = Self.watch()
        let status = try Self.status(last: 200, match: 90)
        let early = watch.update(status, linked: Self.peers, cameBack: { _ in nil }, at: 1)
        #expect(early == Self.ids)
        let late = watch.update(
            status,
            linked: Self.peers,
            cameBack: { _ in nil },
            at: .seconds(3)
        )
        #expect(late == [Self.ids[0], Self.ids[1]])
    }

    @Test func `one that needs a snapshot is not in sync`() throws {
        var watch = Self.watch()
        let status = try Self.status(last: 200, match: 90, .snapshot(LogIndex(150)))
        let found = watch.update(status, linked: Self.peers, cameBack: { _ in nil }, at: 1)
        #expect(found == [Self.ids[0], Self.ids[1]])
    }

    @Test func `one that was away is in sync when it has caught up, and no sooner`() throws {
        var watch = Self.watch()
        let back: (ReplicaID) -> Int64? = { $0 == Self.ids[2] ? 5 : nil }
        let behind = try Self.status(last: 200, match: 90)
        let lagging = watch.update(behind, linked: Self.peers, cameBack: back, at: 6)
        #expect(lagging == [Self.ids[0], Self.ids[1]])
        let level = try Self.status(last: 210, match: 200)
        #expect(watch.update(level, linked: Self.peers, cameBack: back, at: 7) == Self.ids)
        // From then on it may lag a little like any other.
        let again = try Self.status(last: 300, match: 205)
        #expect(watch.update(again, linked: Self.peers, cameBack: back, at: 8) == Self.ids)
    }

    @Test func `when all have everything there is nothing to see until the log grows`() throws {
        var watch = Self.watch()
        let behind = try Self.status(last: 200, match: 190)
        _ = watch.update(behind, linked: Self.peers, cameBack: { _ in nil }, at: 1)
        #expect(!watch.hasSeenAll(through: LogIndex(200)))
        let level = try Self.status(last: 200, match: 200)
        _ = watch.update(level, linked: Self.peers, cameBack: { _ in nil }, at: 2)
        #expect(watch.hasSeenAll(through: LogIndex(200)))
        #expect(!watch.hasSeenAll(through: LogIndex(201)))
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `a replica whose node falls silent drops out at once`(seed: UInt64) throws {
        let cluster = try NodeCluster(seed: seed)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let witness = cluster.machine(1)
        let inSync = { witness.partition("orders")?.leadership.inSync.sorted() }
        try cluster.eventually("all are in sync", seconds: 5) { inSync() == [1, 2, 3] }
        let load = NodeLoad(cluster, "orders")
        try load.waitAcknowledged(Int(10 * seed))
        let killed = cluster.simulation.clock.monotonicNanoseconds
        cluster.machine(3).kill()
        try cluster.eventually("it drops out", seconds: 30) { inSync() == [1, 2] }
        // Silence is noticed after 400 ms; what follows is a tick and a write.
        let took = cluster.simulation.clock.monotonicNanoseconds - killed
        #expect(took < .milliseconds(600), "\(took / 1_000_000) ms")
        cluster.machine(3).start()
        try cluster.eventually("it has caught up", seconds: 20) { inSync() == [1, 2, 3] }
        try load.finish()
    }

    @Test func `a replica that falls behind after a long silence drops out too`() throws {
        let cluster = try NodeCluster(seed: 7)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let witness = cluster.machine(1)
        let inSync = { witness.partition("orders")?.leadership.inSync.sorted() }
        try cluster.eventually("all are in sync", seconds: 5) { inSync() == [1, 2, 3] }
        _ = cluster.simulation.run(for: .seconds(60))
        // Its node lives and beats.
        let disk = cluster.machine(3).disk
        disk.capacity = disk.usedBytes
        let load = NodeLoad(cluster, "orders")
        try cluster.eventually("it drops out", seconds: 60) { inSync() == [1, 2] }
        disk.capacity = .max
        try cluster.eventually("it has caught up", seconds: 20) { inSync() == [1, 2, 3] }
        try load.finish()
    }

    /// The node of a follower is gone for a moment: between two looks, and just then the leader
    /// begins.
    @Test func `a replica missed when its leader began is in sync at the first look`() throws {
        let cluster = try NodeCluster(seed: 8)
        try cluster.createTopic("orders", on: [[1, 2, 3]])
        let machine = cluster.machine(1)
        let group = try #require(machine.partition("orders")).groupID
        try cluster.eventually("it leads", seconds: 5) {
            machine.partition("orders")?.leadership.inSync.sorted() == [1, 2, 3]
        }
        let admin = try #require(machine.node?.admin)
        let shard = admin.shards[Placement.loop(of: group, of: admin.shards.count)]
        let told = Mutex<[[Int32]]>([])
        let duties = LeaderDuties(shard: shard, nodeID: 1, published: admin.published) { found in
            told.withLock { $0 += found.leaderships.map(\.leadership.inSync) }
        }
        shard.loop.execute { duties.assumeIsolated { $0.leads(group) } }
        _ = cluster.simulation.run(for: .seconds(1))
        #expect(told.withLock { $0 } == [[1, 2, 3]])
        shard.loop.execute {
            let all = shard.manager.peers
            let less = PeerView(heard: [ReplicaID(2)], linked: [ReplicaID(2)])
            shard.manager.peersChanged(less)
            duties.assumeIsolated { $0.leads(group) }
            shard.manager.peersChanged(all)
        }
        _ = cluster.simulation.run(for: .seconds(1))
        #expect(told.withLock { $0 } == [[1, 2, 3], [1, 2], [1, 2, 3]])
    }
}
