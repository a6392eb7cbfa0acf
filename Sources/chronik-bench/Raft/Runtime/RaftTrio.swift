import Glibc
import Platform
import Raft
import RaftRuntime
import WriteAheadLog

/// Three nodes of this process, each with a replica of every group.
final class RaftTrio: Sendable {
    /// How long the groups may take to have leaders, and to fall silent.
    private static let patience = Int64.seconds(120)
    private static let interval = Int64.milliseconds(20)

    let nodes: [RaftBenchNode]
    let wire: MemoryWire
    let groups: Int
    private let platform: RealPlatform
    private let directory: String

    private init(
        _ nodes: [RaftBenchNode],
        _ wire: MemoryWire,
        groups: Int,
        platform: RealPlatform,
        directory: String
    ) {
        self.nodes = nodes
        self.wire = wire
        self.groups = groups
        self.platform = platform
        self.directory = directory
    }

    var clock: any Clock { platform.clock }
    var committed: Int { nodes.reduce(0) { $0 + Int($1.committed.current) } }
    var failed: Int { nodes.reduce(0) { $0 + Int($1.failed.current) } }
    var fdatasyncs: Int { nodes.reduce(0) { $0 + Int($1.log.fdatasyncs.current) } }
    var logBytes: Int { nodes.reduce(0) { $0 + Int($1.log.bytes.current) } }

    /// Starts the nodes; their logs are made under `parent`.
    static func start(
        groups: Int,
        under parent: String,
        config: RaftConfig
    ) async throws -> RaftTrio {
        let platform = RealPlatform(loopCount: 3)
        let number = platform.clock.monotonicNanoseconds
        let directory = parent + "/chronik-bench-raft.\(getpid()).\(number)"
        try platform.files.createDirectory(directory)
        let wire = MemoryWire()
        var nodes: [RaftBenchNode] = []
        let ids = (1...UInt64(platform.loops.count)).map { ReplicaID($0) }
        for (id, loop) in zip(ids, platform.loops) {
            let made: Result<RaftBenchNode, any Error> = await withUnsafeContinuation { waiting in
                loop.execute {
                    let node = Result {
                        try RaftBenchNode(
                            id,
                            on: loop,
                            of: platform,
                            directory: directory + "/\(id.rawValue)",
                            wire: wire,
                            config: config
                        )
                    }
                    waiting.resume(returning: node.mapError { $0 as any Error })
                }
            }
            nodes.append(try made.get())
        }
        let membership = Membership(voters: ids)
        for node in nodes {
            try await node.run { try $0.start(groups: groups, membership: membership) }
        }
        return RaftTrio(nodes, wire, groups: groups, platform: platform, directory: directory)
    }

    /// Ends everything and removes the logs.
    func stop() async throws {
        wire.cut()
        for node in nodes { try await node.run { $0.stop() } }
        for node in nodes { try await node.closeLog() }
        try platform.files.removeTree(directory)
    }

    // MARK: Waiting

    /// Spreads leadership over the nodes, and waits until every group is led.
    func elect() async throws {
        let count = UInt64(nodes.count)
        for node in nodes {
            try await node.run { $0.campaign(share: $0.id.rawValue % count, of: count) }
        }
        try await wait("\(groups) groups are not led") { [nodes, groups] in
            nodes.reduce(0) { $0 + $1.leading.current } == groups
        }
    }

    /// Waits until no group is ticked any more.
    func fallSilent() async throws {
        try await wait("groups do not fall silent") { [nodes] in
            for node in nodes where try await node.run({ $0.awakeCount }) > 0 { return false }
            return true
        }
    }

    func pass(_ nanoseconds: Int64) async { await nodes[0].loop.sleep(nanoseconds: nanoseconds) }

    private func wait(_ problem: String, until isDone: () async throws -> Bool) async throws {
        let end = clock.monotonicNanoseconds + Self.patience
        while !(try await isDone()) {
            guard clock.monotonicNanoseconds < end else { throw BenchError.raft(problem) }
            await pass(Self.interval)
        }
    }
}
