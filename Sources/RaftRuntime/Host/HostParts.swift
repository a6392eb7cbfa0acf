import Platform
import Raft
import WriteAheadLog

/// What a host is made of, put together while it opens.
struct HostParts: Sendable {
    let configuration: RaftHostConfiguration
    let files: HostFiles
    let workers: HostWorkers
    let log: OpenedLog
    let loops: [EventLoop]
    let managers: [RaftReplicaManager]
    let groups: HostedGroups
    let transport: (any HostTransport)?
    let dispatcher: RaftDispatcher?

    init(
        _ configuration: RaftHostConfiguration,
        _ platform: any HostPlatform,
        _ transport: (any HostTransport)?,
        _ incarnation: UInt64
    ) async throws(RaftHostError) {
        self.configuration = configuration
        self.transport = transport
        let files = HostFiles(files: platform.files, directory: configuration.directory)
        self.files = files
        let workers = HostWorkers(platform)
        self.workers = workers
        let opened = await workers.writing.run {
            Result { () throws(RaftHostError) in
                try OpenedLog(configuration, files, platform: platform, workers: workers)
            }
        }
        guard case .success(let log) = opened else {
            workers.stop()
            _ = try opened.get()
            throw .closed
        }
        self.log = log
        loops = platform.loops
        let limits = SnapshotLimits(configuration.raft)
        var managers: [RaftReplicaManager] = []
        for loop in platform.loops {
            let generator = platform.makeGenerator()
            managers.append(
                await loop.run {
                    RaftReplicaManager(
                        loop: loop,
                        wal: log.wal,
                        managers: platform.loops.count,
                        reader: workers.reading,
                        replicaID: configuration.node,
                        generator: generator,
                        config: configuration.raft,
                        transport: transport,
                        snapshotLimits: limits
                    )
                }
            )
        }
        self.managers = managers
        groups = HostedGroups(configuration.node, log, managers: managers)
        dispatcher = transport.map { [managers] transport in
            RaftDispatcher(
                managers: managers,
                transport: transport,
                incarnation: incarnation,
                placement: { Int($0 % UInt64(managers.count)) }
            )
        }
    }

    /// Follows the log's wishes and its end.
    func watchLog() {
        let groups = groups
        log.wal.onPressure { file in groups.home.execute { groups.relieve(below: file) } }
        let (managers, dispatcher) = (managers, dispatcher)
        log.wal.onPoisoned {
            let error = RaftError.storageFailed
            if let dispatcher {
                dispatcher.logIsPoisoned(error)
            } else {
                for manager in managers { manager.loop.execute { manager.logIsPoisoned(error) } }
            }
        }
    }

    /// Gives everything back: the host could not be opened.
    func abandon() async {
        await transport?.stop()
        try? await log.wal.close()
        workers.stop()
        log.lock.release()
    }
}

/// A group that runs.
struct Started<Machine: StateMachine>: Sendable {
    let group: RaftGroup<Machine>
    let watch: LeaderWatch
    let isAlone: Bool
}

/// One group on its way from the log to its loop.
struct GroupStart: Sendable {
    private let id: UInt64
    private let origin: HostedGroups.Origin
    private let storage: LoopConfined<WALRaftStorage>
    private let image: GroupImage?
    private let files: HostFiles
    private let worker: Worker

    init(
        _ id: UInt64,
        _ origin: HostedGroups.Origin,
        _ storage: LoopConfined<WALRaftStorage>,
        _ image: GroupImage?,
        _ files: HostFiles,
        _ worker: Worker
    ) {
        self.id = id
        self.origin = origin
        self.storage = storage
        self.image = image
        self.files = files
        self.worker = worker
    }

    /// Runs on the loop of the group.
    func run<Machine: StateMachine>(
        _ manager: RaftReplicaManager,
        _ make: () -> Machine,
        _ host: RaftHost
    ) throws(RaftHostError) -> Started<Machine> {
        let storage = storage.value
        let machine = make()
        guard machine.lastApplied == .zero else {
            throw .invalidConfiguration("the state machine of group \(id) is not empty")
        }
        try bringBack(machine, storage)
        let hosted = HostedMachine(
            machine,
            group: id,
            files: files,
            worker: worker,
            loop: manager.loop
        )
        let replica: PartitionReplica
        do {
            replica = try manager.start(group: id, storage: storage, stateMachine: hosted)
        } catch {
            throw .groupLost(id, "\(error)")
        }
        hosted.replica = replica
        replica.onReleaseWanted = { [weak hosted] in hosted?.compact() }
        let watch = LeaderWatch(replica)
        replica.onStorageFailed = { [weak watch] _ in watch?.ended(.storageFailed) }
        if replica.isAlone { replica.campaign() }
        let group = RaftGroup(replica, hosted, watch, loop: manager.loop, host: host)
        return Started(group: group, watch: watch, isAlone: replica.isAlone)
    }

    private func bringBack(
        _ machine: some StateMachine,
        _ storage: WALRaftStorage
    ) throws(RaftHostError) {
        let base = image?.metadata ?? storage.base
        do {
            if let image {
                try image.bringBack(machine)
            } else if base.index > LogIndex(1) {
                throw RaftHostError.groupLost(id, "its state as of entry \(base.index) is gone")
            }
            try storage.finishRecovery(
                applied: base.index,
                term: base.term,
                membership: base.membership
            )
        } catch let error as RaftHostError {
            throw error
        } catch {
            throw .groupLost(id, "\(error)")
        }
    }
}
