internal import Raft

/// One replica of a simulated group: its node while it is up, its disk, its state machine.
final class SimulatedReplica {
    let id: ReplicaID
    /// Where it stands among the replicas of the run.
    let place: Int
    let configuration: RaftNode.Configuration
    let disk: SimulatedDisk
    var machine = HistoryMachine()

    /// Nil while it is down.
    var node: RaftNode?
    /// How often it has been started; what was under way in an earlier life is void.
    var life = 0
    /// Its disk is gone for good, and it with it.
    var isLost = false
    /// Nothing happens in its process until then.
    var pausedUntil = 0
    /// From one tick of its clock to the next.
    var tickPeriod: Int
    var applies: [[RaftEntry]] = []
    var isApplying = false

    // MARK: For the checks

    struct Seen {
        var role = RaftRole.follower
        var term = Term.zero
        var vote: ReplicaID?
        var commit = LogIndex.zero
        var applied = LogIndex.zero
    }

    var seen = Seen()
    /// Changes of membership in its log that it has not seen committed.
    var changes: [LogIndex] = []
    /// To whom it granted its vote in which term.
    var votes: [Term: ReplicaID] = [:]

    init(
        place: Int,
        configuration: RaftNode.Configuration,
        disk: SimulatedDisk,
        tickPeriod: Int
    ) {
        id = configuration.id
        self.place = place
        self.configuration = configuration
        self.disk = disk
        self.tickPeriod = tickPeriod
    }

    var isUp: Bool { node != nil }

    /// Comes back with what is on its disk.
    func start() throws(RaftConfigurationError) {
        disk.recover()
        // What it needs to start is read before it starts.
        let unavailability = disk.unavailability
        disk.unavailability = 0
        defer { disk.unavailability = unavailability }
        machine = disk.durable.snapshot.map(HistoryMachine.init) ?? HistoryMachine()
        applies.removeAll()
        isApplying = false
        life += 1
        node = try RaftNode(
            configuration: configuration,
            log: disk,
            hardState: disk.durable.hardState,
            membership: machine.membership,
            applied: machine.index,
            abstainUntil: disk.abstainUntil
        )
    }

    /// Goes down as when the power fails.
    func crash(keeping count: Int, torn entries: Int?) {
        node = nil
        life += 1
        applies.removeAll()
        isApplying = false
        pausedUntil = 0
        disk.crash(keeping: count, torn: entries)
    }
}
