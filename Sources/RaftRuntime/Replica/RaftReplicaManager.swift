import Bytes
package import Platform
package import Raft
package import WriteAheadLog

/// The Raft groups of one event loop.
///
/// Works once a turn: the dirty groups only, one WAL batch for all of them, and one completion that
/// marks them dirty again, so that the next turn applies what has become durable.
package final class RaftReplicaManager: @unchecked Sendable {
    // Unchecked: confined to `loop`.
    package let loop: EventLoop
    private let wal: GroupCommitWAL
    /// Reads what recovery left in the WAL.
    private let reader: Worker
    private let replicaID: ReplicaID
    private var generator: SeededGenerator
    private var replicas: [UInt64: PartitionReplica] = [:]
    private var dirty: [PartitionReplica] = []
    private var pressures: [Pressure] = []
    /// While true, what recovery left in the WAL stays there: memory is short.
    package var isThrottled: () -> Bool = { false }

    package init(
        loop: EventLoop,
        wal: GroupCommitWAL,
        reader: Worker,
        replicaID: ReplicaID,
        generator: SeededGenerator
    ) {
        precondition(loop.isCurrent, "a manager made outside its loop")
        self.loop = loop
        self.wal = wal
        self.reader = reader
        self.replicaID = replicaID
        self.generator = generator
        loop.atEndOfTurn { [unowned self] in turn() }
    }

    /// Starts a replica from its log; a group of one voter campaigns at once.
    package func start(
        group: UInt64,
        storage: WALRaftStorage,
        stateMachine: any StateMachine
    ) throws(RaftConfigurationError) -> PartitionReplica {
        precondition(replicas[group] == nil, "group \(group) started twice")
        var configuration = RaftNode.Configuration(id: replicaID, randomSeed: generator.next())
        configuration.maxCommittedBytesPerReady = 64 << 20
        configuration.maxUncommittedBytes = 256 << 20
        let node = try RaftNode(
            configuration: configuration,
            log: storage,
            hardState: storage.hardState,
            membership: storage.base.membership,
            applied: stateMachine.lastApplied,
            abstainUntilTerm: storage.abstention?.until
        )
        let replica = PartitionReplica(
            group: group,
            node: node,
            storage: storage,
            stateMachine: stateMachine,
            manager: self
        )
        replicas[group] = replica
        if storage.hasPending { markDirty(replica) }
        return replica
    }

    package func replica(_ group: UInt64) -> PartitionReplica? { replicas[group] }

    func remove(_ replica: PartitionReplica) {
        replicas[replica.group] = nil
        reportRelief()
    }

    func markDirty(_ replica: PartitionReplica) {
        guard !replica.isDirty else { return }
        replica.isDirty = true
        dirty.append(replica)
    }

    // MARK: The turn

    private struct Staged {
        let replica: PartitionReplica
        let records: Range<Int>
        /// 0 when no Ready waits for them.
        let number: UInt64
    }

    private func turn() {
        guard !dirty.isEmpty else { return }
        var records: [WALRecord] = []
        var staged: [Staged] = []
        // Applying may make groups dirty again; they are taken in the same turn.
        while !dirty.isEmpty {
            let now = dirty
            dirty = []
            for replica in now {
                replica.isDirty = false
                let start = records.count
                guard let work = replica.process(into: &records) else { continue }
                staged.append(
                    Staged(
                        replica: replica,
                        records: start..<start + work.count,
                        number: work.number
                    )
                )
            }
        }
        submit(records, staged)
    }

    private func submit(_ records: [WALRecord], _ staged: [Staged]) {
        guard !records.isEmpty else { return }
        wal.submit(
            WALBatch(records: records, loop: loop) { [self] result in
                switch result {
                case .success(let positions):
                    for work in staged {
                        for record in work.records {
                            work.replica.storage.recordIsDurable(
                                records[record],
                                at: positions[record]
                            )
                        }
                        work.replica.persisted(work.number)
                    }
                    reportRelief()
                case .failure(let error):
                    for work in staged { work.replica.storageFailed(error) }
                }
            }
        )
    }

    // MARK: WAL space

    private struct Pressure {
        let below: UInt64
        /// Replicas that may still need a file below; whoever is looked at and needs none leaves.
        var behind: [PartitionReplica]
        let relieved: (UInt64) -> Void
    }

    /// Moves everything the groups need out of the files below `file`, then calls `relieved` with
    /// the lowest file still needed.
    ///
    /// A group that starts meanwhile writes into later files.
    package func relieve(below file: UInt64, _ relieved: @escaping (UInt64) -> Void) {
        precondition(loop.isCurrent, "WAL pressure outside the loop")
        let behind = replicas.values.filter { $0.storage.oldestFile < file }
            .sorted { $0.group < $1.group }
        pressures.append(Pressure(below: file, behind: behind, relieved: relieved))
        var records: [WALRecord] = []
        var staged: [Staged] = []
        for replica in behind {
            if replica.storage.isStateOlder(than: file) {
                let start = records.count
                replica.storage.stageState()
                let count = replica.storage.takePending(into: &records)
                staged.append(Staged(replica: replica, records: start..<start + count, number: 0))
            }
            replica.onReleaseWanted?()
        }
        submit(records, staged)
        reportRelief()
    }

    /// Asks again those that are behind: what they had not applied yet they may have by now.
    package func urgeRelief() {
        for replica in pressures.flatMap(\.behind) { replica.onReleaseWanted?() }
        reportRelief()
    }

    /// Call after prefixes were dropped.
    package func reportRelief() {
        guard !pressures.isEmpty else { return }
        var relieved: [Pressure] = []
        for place in pressures.indices.reversed() {
            while let replica = pressures[place].behind.last {
                let isGone = replicas[replica.group] !== replica
                guard isGone || replica.storage.oldestFile >= pressures[place].below else { break }
                pressures[place].behind.removeLast()
            }
            if pressures[place].behind.isEmpty { relieved.append(pressures.remove(at: place)) }
        }
        guard !relieved.isEmpty else { return }
        let oldest = replicas.values.map(\.storage.oldestFile).min() ?? .max
        for pressure in relieved.reversed() { pressure.relieved(oldest) }
    }

    // MARK: After a restart

    private static let throttleNanoseconds = Int64.milliseconds(2)

    func fetch(
        _ range: ClosedRange<LogIndex>,
        _ positions: [WALPosition],
        for replica: PartitionReplica
    ) {
        guard !isThrottled() else {
            _ = loop.schedule(after: Self.throttleNanoseconds) { [self] in
                fetch(range, positions, for: replica)
            }
            return
        }
        let wal = wal
        let loop = loop
        reader.execute {
            var payloads: [ByteSlice] = []
            var problem: (any Error)?
            for position in positions {
                do { payloads.append(try wal.read(position)) } catch {
                    problem = error
                    break
                }
            }
            let read = payloads
            let failure = problem
            loop.execute {
                replica.storage.fetched(range, read)
                if let failure { replica.storageFailed(failure) } else { replica.logIsReadable() }
            }
        }
    }
}
