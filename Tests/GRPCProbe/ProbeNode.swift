import Glibc
package import Platform
package import Raft
package import RaftGRPC
package import RaftRuntime
import WriteAheadLog

/// A group of a probe: its partition, its number and who replicates it.
package struct ProbeGroup: Sendable {
    package let topic: String
    package let partition: Int32
    package let group: UInt64
    /// Empty: the replica waits to be brought everything.
    package let voters: [UInt64]

    package init(_ topic: String, _ partition: Int32, group: UInt64, voters: [UInt64]) {
        self.topic = topic
        self.partition = partition
        self.group = group
        self.voters = voters
    }
}

/// A node without a broker: Raft groups over a log on the disk, and the `RaftService` in front.
package final class ProbeNode: @unchecked Sendable {
    // Unchecked: everything is made before anybody else has it, and never changed.
    package static let cluster = "probe-cluster"

    package let id: ReplicaID
    package let groups: [ProbeGroup]
    package let members: [UInt64]
    package let transport: GRPCTransport
    package let answers: CallAnswers
    package let server: GRPCServer
    package let service: RaftService
    package let loop: EventLoop
    package private(set) var states: [UInt64: MemoryStateMachine] = [:]
    private let directory: String
    private let files: FileSystem
    private let manager: RaftReplicaManager
    private let dispatcher: RaftDispatcher

    /// Runs on `loop`.
    package init(
        _ id: UInt64,
        members: [UInt64],
        groups: [ProbeGroup],
        platform: RealPlatform,
        loop: EventLoop,
        config: RaftConfig = RaftConfig(),
        server configuration: GRPCServer.Configuration = GRPCServer.Configuration()
    ) throws {
        self.id = ReplicaID(id)
        self.members = members
        self.groups = groups
        self.loop = loop
        files = platform.files
        directory = "/var/tmp/chronik-probe-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        let wal = try Self.openLog(directory, platform)
        let incarnation = UInt64(platform.clock.wallMilliseconds) * 1_000_000
        let identity = ServiceIdentity(
            cluster: Self.cluster,
            node: self.id,
            incarnation: incarnation
        )
        transport = GRPCTransport(identity: identity, loop: loop)
        answers = CallAnswers(over: transport)
        manager = RaftReplicaManager(
            loop: loop,
            wal: wal,
            reader: platform.makeWorker(name: "reads"),
            replicaID: self.id,
            generator: platform.makeGenerator(),
            config: config,
            transport: answers
        )
        dispatcher = RaftDispatcher(
            managers: [manager],
            transport: answers,
            incarnation: incarnation,
            placement: { _ in 0 }
        )
        service = RaftService(
            identity: identity,
            handler: ProbeHandler(
                HostedReplicas([manager], placement: { _ in 0 }),
                id: id,
                members: members,
                groups: groups
            ),
            answers: answers,
            delegate: dispatcher,
            loops: [loop]
        )
        server = GRPCServer(service, configuration)
        for group in groups { try start(group) }
        transport.start(delegate: dispatcher)
    }

    private static func openLog(
        _ directory: String,
        _ platform: RealPlatform
    ) throws -> GroupCommitWAL {
        var configuration = WALConfiguration(
            directory: directory,
            fileBytes: 8 << 20,
            totalBytes: 64 << 20
        )
        configuration.firstFileBytes = 1 << 20
        return try GroupCommitWAL.open(
            configuration,
            files: platform.files,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "wal-files"),
            clock: platform.clock,
            generator: platform.makeGenerator()
        ) { _, _, _ in }
    }

    private func start(_ group: ProbeGroup) throws {
        let membership = Membership(voters: group.voters.map { ReplicaID($0) })
        let joins = group.voters.isEmpty
        let storage =
            joins
            ? WALRaftStorage.joining(group: group.group)
            : WALRaftStorage.bootstrapped(group: group.group, membership: membership)
        try storage.finishRecovery(
            applied: LogIndex(joins ? 0 : 1),
            term: Term(joins ? 0 : 1),
            membership: membership
        )
        let state = MemoryStateMachine()
        states[group.group] = state
        _ = try manager.start(group: group.group, storage: storage, stateMachine: state)
    }

    /// Campaigns in a group, and waits until this replica leads it.
    package func lead(_ group: UInt64) async {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            loop.execute { [self] in
                guard let replica = manager.replica(group) else {
                    preconditionFailure("no replica of group \(group)")
                }
                replica.onLeadership = { [unowned replica] _, _ in
                    replica.onLeadership = nil
                    continuation.resume()
                }
                replica.campaign()
            }
        }
    }

    /// Talks to the other nodes from now on.
    package func connect(_ peers: [UInt64: SocketAddress]) {
        transport.setPeers(
            Dictionary(uniqueKeysWithValues: peers.map { (ReplicaID($0.key), $0.value) })
        )
        dispatcher.follow(peers.keys.map { ReplicaID($0) })
    }

    /// Ends what has threads; the loop lives on.
    package func stop() {
        dispatcher.fallSilent()
        server.stop()
        transport.stop()
        try? files.removeTree(directory)
    }

    /// Only on the loop.
    package func info(_ group: UInt64) -> PartitionReplica.Info? { manager.replica(group)?.info }
}
