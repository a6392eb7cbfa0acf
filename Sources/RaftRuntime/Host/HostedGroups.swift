import Platform
import Raft
import WriteAheadLog

/// What a host knows of its groups: those in its log, those that run, and who makes room in the log.
final class HostedGroups: @unchecked Sendable {
    // Unchecked: confined to `home`.
    let home: EventLoop
    private let node: ReplicaID
    private let wal: GroupCommitWAL
    private let recovered: RecoveredGroups
    private let managers: [RaftReplicaManager]
    private var started: Set<UInt64> = []
    /// The oldest file of each group that is being started or could not be.
    private var pins: [UInt64: UInt64] = [:]
    private var watches: [(watch: LeaderWatch, loop: EventLoop)] = []
    private(set) var isClosed = false

    // MARK: Room in the log

    private var wanted: UInt64?
    private var isRelieving = false
    private var isUrging = false
    /// What could not be given back for the sake of groups that do not run.
    private var heldBack: UInt64?

    init(
        _ node: ReplicaID,
        _ log: OpenedLog,
        managers: [RaftReplicaManager]
    ) {
        self.node = node
        wal = log.wal
        recovered = log.recovered
        self.managers = managers
        home = managers[0].loop
    }

    func manager(of group: UInt64) -> RaftReplicaManager {
        managers[Int(group % UInt64(managers.count))]
    }

    var dormant: [UInt64] { recovered.groups }

    // MARK: Starting a group

    /// Who starts a group, and what of it is there.
    enum Origin: Sendable {
        case new(voters: [ReplicaID])
        case joining
        case known
    }

    /// Takes a group's log, to start it from; must end with ``ended(_:_:)``.
    func begin(
        _ group: UInt64,
        _ origin: Origin
    ) -> Result<LoopConfined<WALRaftStorage>, RaftHostError> {
        guard !isClosed else { return .failure(.closed) }
        let isKnown = recovered.groups.contains(group)
        guard !started.contains(group) else { return .failure(.groupExists(group)) }
        let storage: WALRaftStorage
        switch origin {
        case .new(let voters):
            guard !isKnown else { return .failure(.groupExists(group)) }
            guard voters.contains(node) else {
                return .failure(
                    .invalidConfiguration("node \(node) makes a group it does not belong to")
                )
            }
            storage = .bootstrapped(group: group, membership: Membership(voters: voters))
        case .joining:
            guard !isKnown else { return .failure(.groupExists(group)) }
            storage = .joining(group: group)
        case .known:
            guard isKnown else { return .failure(.unknownGroup(group)) }
            do {
                storage = try recovered.storage(
                    of: group,
                    membership: Membership(),
                    isNew: false
                )
            } catch {
                return .failure(.groupLost(group, error.description))
            }
            pins[group] = storage.oldestFile
        }
        started.insert(group)
        return .success(LoopConfined(storage))
    }

    /// The group runs, or could not be started: then its part of the log is kept as it is.
    func ended(_ group: UInt64, _ watch: LeaderWatch?) {
        guard let watch else { return }
        pins[group] = nil
        watches.append((watch, manager(of: group).loop))
        if let file = heldBack {
            heldBack = nil
            relieve(below: file)
        }
    }

    // MARK: Making room

    /// Has all groups move what they need out of the files below `file`, and gives those back.
    ///
    /// One round at a time; what is asked for meanwhile is done in the next.
    func relieve(below file: UInt64) {
        wanted = max(wanted ?? 0, file)
        guard !isRelieving else { return }
        beginRound()
    }

    private func beginRound() {
        guard !isClosed, let below = wanted else { return }
        wanted = nil
        isRelieving = true
        // A group that starts during the round may not be asked in it.
        let kept = neededByOthers
        let round = ReliefRound(managers.count)
        for manager in managers {
            manager.loop.execute { [self] in
                manager.relieve(below: below) { [self] _ in
                    home.execute { [self] in
                        if round.isLast() { relieved(below, kept: min(kept, neededByOthers)) }
                    }
                }
            }
        }
        urge()
    }

    /// The oldest file of the groups that do not run.
    private var neededByOthers: UInt64 {
        min(recovered.oldestFile, pins.values.min() ?? .max)
    }

    /// What was not applied when room was wanted may be by now.
    private func urge() {
        guard !isUrging else { return }
        isUrging = true
        _ = home.schedule(after: .milliseconds(500)) { [weak self] in
            guard let self else { return }
            isUrging = false
            guard isRelieving && !isClosed else { return }
            for manager in managers { manager.loop.execute { manager.urgeRelief() } }
            urge()
        }
    }

    private func relieved(_ below: UInt64, kept: UInt64) {
        isRelieving = false
        guard !isClosed else { return }
        if kept < neededByOthers {
            // Some were started while the round was under way: nothing else would ask again.
            wanted = max(wanted ?? 0, below)
        } else if kept < below {
            heldBack = max(heldBack ?? 0, below)
        }
        wal.release(before: min(below, kept))
        beginRound()
    }

    // MARK: The end

    /// Stops all groups; calls `completion` on the home loop when none runs.
    func close() -> [(watch: LeaderWatch, loop: EventLoop)] {
        isClosed = true
        defer { watches = [] }
        return watches
    }
}

/// Counts those that are not through.
private final class ReliefRound: @unchecked Sendable {
    // Unchecked: confined to the home loop.
    private var left: Int

    init(_ count: Int) { left = count }

    func isLast() -> Bool {
        left -= 1
        return left == 0
    }
}
