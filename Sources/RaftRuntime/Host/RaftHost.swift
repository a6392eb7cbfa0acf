import Bytes
import Platform
public import Raft
import Synchronization
import WriteAheadLog

/// A node's seat in a cluster: one write-ahead log, connections to the other nodes, and replicas of
/// as many groups as the program likes.
///
/// | step | call |
/// |---|---|
/// | open | ``open(_:on:)`` |
/// | meet the others | ``setPeers(_:)``, again whenever one comes, goes or moves |
/// | make a group, once, on each of its first voters | ``createGroup(_:voters:stateMachine:)`` |
/// | after a restart | ``openGroup(_:stateMachine:)`` |
/// | on a node that is to become a member | ``joinGroup(_:stateMachine:)`` |
/// | end | ``close()``, exactly once |
public final class RaftHost: Sendable {
    /// This node.
    public let node: ReplicaID
    /// Where other nodes reach this one; `nil` without a network.
    public let address: String?
    private let files: HostFiles
    private let log: OpenedLog
    private let workers: HostWorkers
    private let groups: HostedGroups
    private let loops: [EventLoop]
    private let managers: [RaftReplicaManager]
    private let transport: (any HostTransport)?
    private let dispatcher: RaftDispatcher?

    private init(_ parts: HostParts, address: String?) {
        node = parts.configuration.node
        self.address = address
        files = parts.files
        log = parts.log
        workers = parts.workers
        groups = parts.groups
        loops = parts.loops
        managers = parts.managers
        transport = parts.transport
        dispatcher = parts.dispatcher
    }

    // MARK: Opening

    /// Recovers the log of a directory and joins the network.
    ///
    /// - Parameters:
    ///   - configuration: Who the host is, and where its data is.
    ///   - threads: Its event loops, shared with the other hosts of the program.
    /// - Returns: A host without groups: whatever its log knows waits to be opened.
    /// - Throws: ``RaftHostError``; nothing is left open then.
    public static func open(
        _ configuration: RaftHostConfiguration,
        on threads: RaftThreads
    ) async throws(RaftHostError) -> RaftHost {
        try configuration.validate()
        let platform = threads.platform
        let incarnation = UInt64(platform.clock.wallMilliseconds) * 1_000_000
        let transport = try configuration.network?.makeTransport(
            for: HostSeat(
                cluster: configuration.cluster,
                node: configuration.node,
                incarnation: incarnation,
                threads: threads
            )
        )
        let parts = try await HostParts(configuration, platform, transport, incarnation)
        var address: String?
        if let transport, let dispatcher = parts.dispatcher {
            do {
                address = try await transport.start(delegate: dispatcher)
            } catch {
                await parts.abandon()
                throw error
            }
        }
        parts.watchLog()
        return RaftHost(parts, address: address)
    }

    // MARK: Peers

    /// The nodes of the cluster and where they listen; this one may be among them.
    ///
    /// - Parameter addresses: All of them each time: who is no longer named is forgotten.
    /// - Throws: ``RaftHostError/invalidConfiguration(_:)`` for an address that cannot be read.
    public func setPeers(_ addresses: [ReplicaID: String]) throws(RaftHostError) {
        let others = addresses.filter { $0.key != node }
        try transport?.setPeers(others)
        dispatcher?.follow(others.keys.sorted())
    }

    // MARK: Groups

    /// Groups the log of this host knows that were not opened yet, by rising number.
    ///
    /// Their part of the log is kept until they are.
    public var dormantGroups: [UInt64] {
        get async { await groups.home.run { [groups] in groups.dormant } }
    }

    /// Makes a group, once and for all: on each of its first voters, with the same list of them.
    ///
    /// A group of one leads at once; others elect a leader as soon as a majority is there.
    ///
    /// - Parameters:
    ///   - id: A number that no other group of the cluster ever had.
    ///   - voters: The replicas the group starts with, this node's among them.
    ///   - stateMachine: Makes it, empty; called on the group's event loop.
    /// - Returns: The group, once its replica takes part.
    /// - Throws: ``RaftHostError/groupExists(_:)`` if the log knows it.
    public func createGroup<Machine: StateMachine>(
        _ id: UInt64,
        voters: [ReplicaID],
        stateMachine: @escaping @Sendable () -> Machine
    ) async throws(RaftHostError) -> RaftGroup<Machine> {
        try await start(id, .new(voters: voters), stateMachine)
    }

    /// Takes a replica up again that was here before.
    ///
    /// On a directory that was lost there is none: a replica that forgot its votes and entries must
    /// not come back under its old id. Remove it from its groups and join with a new one.
    ///
    /// - Parameters:
    ///   - id: The group's number.
    ///   - stateMachine: Makes it, empty; called on the group's event loop. What it held is brought
    ///     back from the last image and the log.
    /// - Returns: The group, once its replica takes part.
    /// - Throws: ``RaftHostError/unknownGroup(_:)`` if the log does not know it.
    public func openGroup<Machine: StateMachine>(
        _ id: UInt64,
        stateMachine: @escaping @Sendable () -> Machine
    ) async throws(RaftHostError) -> RaftGroup<Machine> {
        try await start(id, .known, stateMachine)
    }

    /// Starts a replica that waits to be made a member by a group's leader, and to be brought all
    /// it holds.
    ///
    /// - Parameters:
    ///   - id: The group's number.
    ///   - stateMachine: Makes it, empty; called on the group's event loop.
    /// - Returns: The group, which nobody leads yet as far as this replica knows.
    /// - Throws: ``RaftHostError/groupExists(_:)`` if the log knows it.
    public func joinGroup<Machine: StateMachine>(
        _ id: UInt64,
        stateMachine: @escaping @Sendable () -> Machine
    ) async throws(RaftHostError) -> RaftGroup<Machine> {
        try await start(id, .joining, stateMachine)
    }

    private func start<Machine: StateMachine>(
        _ id: UInt64,
        _ origin: HostedGroups.Origin,
        _ make: @escaping @Sendable () -> Machine
    ) async throws(RaftHostError) -> RaftGroup<Machine> {
        let groups = groups
        let begun = await groups.home.run { groups.begin(id, origin) }
        let storage = try begun.get()
        var image: GroupImage?
        if case .known = origin { image = try await loadImage(of: id) }
        let manager = groups.manager(of: id)
        let start = GroupStart(id, origin, storage, image, files, workers.images)
        let result = await manager.loop.run { [self] in
            Result { () throws(RaftHostError) in try start.run(manager, make, self) }
        }
        let watch = (try? result.get())?.watch
        await groups.home.run { groups.ended(id, watch) }
        let started = try result.get()
        // One that is alone leads after one write, of which the caller need not know.
        if started.isAlone { _ = try? await started.group.leader() }
        return started.group
    }

    private func loadImage(of id: UInt64) async throws(RaftHostError) -> GroupImage? {
        let files = files
        let loaded = await workers.images.run {
            Result { () throws(RaftHostError) in try files.image(of: id) }
        }
        return try loaded.get()
    }

    /// Whether proposals must wait until groups were compacted.
    var isLogFull: Bool { log.wal.isOverLimit }

    // MARK: Closing

    /// Ends all replicas, closes the connections and the log.
    ///
    /// To the other nodes it looks as if this one had died: hand leadership over first where that
    /// matters. What was proposed and not yet answered ends with ``RaftError/stopped``.
    ///
    /// - Throws: ``RaftHostError/storage(_:)`` if the end of the log could not be written; whatever
    ///   was acknowledged is durable all the same.
    public func close() async throws(RaftHostError) {
        let groups = groups
        let isFirst = await groups.home.run { () -> [LoopWatch]? in
            guard !groups.isClosed else { return nil }
            return groups.close().map { LoopWatch(watch: $0.watch, loop: $0.loop) }
        }
        guard let watches = isFirst else { throw .closed }
        dispatcher?.fallSilent()
        await transport?.stop()
        for manager in managers {
            await manager.loop.run { for replica in manager.all { replica.stop() } }
        }
        for entry in watches { await entry.loop.run { entry.watch.ended(.stopped) } }
        let failure: RaftHostError?
        do {
            try await log.wal.close()
            failure = nil
        } catch {
            failure = .storage(error.description)
        }
        await workers.images.run {}
        workers.stop()
        log.lock.release()
        if let failure { throw failure }
    }
}

private struct LoopWatch: Sendable {
    let watch: LeaderWatch
    let loop: EventLoop
}
