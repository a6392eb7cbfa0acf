internal import Raft

/// How a run's world is: drawn from the seed before the first event.
struct Conditions {
    var faults: Faults
    // In a thousand messages.
    var loss = 0
    var duplication = 0
    var reordering = 0
    var delay = 0
    /// The time messages, syncs and applying take at most.
    var latency: Int
    var syncTime: Int
    var applyTime: Int
    /// From one piece of trouble, and one client, to the next.
    var troubleInterval: Int
    var clientInterval: Int
    /// A crash loses whole writes only.
    var hasAtomicWrites: Bool
    var lateReads = 0
    /// How far clocks may be off, in a thousand.
    var drift = 0

    /// From one tick to the next on a clock that is right.
    static let tick = 100

    init(faults: Faults, random: inout RandomSource) {
        self.faults = faults
        latency = random.pick([15, 40, 120])
        syncTime = random.pick([10, 40, 150])
        applyTime = random.pick([2, 20, 100])
        troubleInterval = random.pick([60, 150, 400])
        clientInterval = random.pick([15, 40, 100])
        hasAtomicWrites = !faults.contains(.tornWrites)
        if faults.contains(.loss) { loss = random.pick([10, 50, 200]) }
        if faults.contains(.duplication) { duplication = random.pick([10, 50, 200]) }
        if faults.contains(.reordering) { reordering = random.pick([10, 100, 300]) }
        if faults.contains(.delay) { delay = random.pick([5, 30]) }
        if faults.contains(.slowDisks) { lateReads = random.pick([0, 50, 300]) }
        if faults.contains(.clocks) { drift = random.pick([10, 100, 300]) }
    }

    /// Nothing goes wrong any more, but clocks stay as they are.
    mutating func calm() {
        loss = 0
        duplication = 0
        reordering = 0
        delay = 0
        lateReads = 0
    }

    /// Settings all replicas of the group share, but for id, randomness and priority.
    static func configuration(
        isLenient: Bool,
        random: inout RandomSource
    ) -> RaftNode.Configuration {
        var settings = RaftNode.Configuration(id: ReplicaID(1), randomSeed: 0)
        settings.electionTicks = random.pick([4, 6, 10])
        settings.preVote = !random.oneIn(4)
        settings.checkQuorum = !random.oneIn(5)
        settings.batchesAppends = !random.oneIn(3)
        settings.broadcastsCommit = !random.oneIn(4)
        settings.appliesWithinReady = random.oneIn(4)
        settings.maxInflightMessages = random.pick([1, 4, 64])
        settings.maxInflightBytes = random.pick([200, 1 << 20])
        settings.maxMessageBytes = random.pick([0, 60, 1_000])
        settings.maxCommittedBytesPerReady = random.pick([1, 200, 1 << 20])
        settings.maxUncommittedBytes = random.pick([200, 2_000])
        settings.maxPendingReads = random.pick([2, 64])
        settings.snapshotTicks = random.pick([20, 60])
        settings.disableProposalForwarding = !random.oneIn(4)
        settings.stepDownOnRemoval = !random.oneIn(5)
        if random.oneIn(6) {
            settings.readMode = .lease
            settings.checkQuorum = true
            settings.electionTicks = 10
        }
        settings.disableChangeValidation = isLenient
        return settings
    }
}
