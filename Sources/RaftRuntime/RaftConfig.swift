/// How the Raft groups of a node behave; the same on every node of a cluster.
///
/// Times are counted in ticks. With the defaults a leader that dies is replaced in less than a
/// second: its silence is noticed after 400 ms, and an election takes a few round trips and two
/// fdatasyncs. Pre-vote and check-quorum are always on.
public struct RaftConfig: Sendable, Equatable {
    /// Milliseconds between ticks.
    public var tickMilliseconds = 50

    /// Ticks of silence before a leader, or a node, counts as gone; an election follows after one
    /// to two times as many.
    public var electionTicks = 8

    /// Ticks between the heartbeats of a group that is in use.
    public var heartbeatTicks = 1

    /// Ticks without anything to do after which a group falls silent; 0: never.
    public var quiesceTicks = 10

    /// Groups of one event loop that hold elections at the same time.
    public var maxConcurrentElections = 64

    /// Appends sent to one follower and not yet acknowledged.
    public var maxInflightMessages = 256

    /// Bytes sent to one follower of one group and not yet acknowledged.
    public var maxInflightBytes = 16 << 20

    /// Milliseconds that followers may learn later of what is committed, when no entries follow that
    /// carry the news; 0: at once, with a message and an answer more for every commit.
    public var commitDelayMilliseconds = 2

    /// Bytes of entries in one append; one larger entry still goes.
    public var maxMessageBytes = 1 << 20

    /// Bytes of entries in one frame; one larger message still goes.
    public var maxFrameBytes = 8 << 20

    /// Bytes proposed to one group and not yet committed; beyond it proposals are refused.
    public var maxUncommittedBytes = 256 << 20

    /// Bytes of committed entries of one group that are applied at a time.
    public var maxCommittedBytesPerTurn = 64 << 20

    /// Milliseconds a linearizable read waits for a majority to confirm its leader.
    public var readTimeoutMilliseconds = 5_000

    /// Serves reads without asking a majority while enough followers have promised not to vote.
    ///
    /// Safe only while the clocks of all nodes run at nearly the same speed.
    public var usesLeases = false

    /// Learners that caught up become voters by themselves.
    public var promotesLearners = true

    /// Entries a learner may lag and still counts as caught up.
    public var promotionLag = 1_000

    /// Bytes of a snapshot that travel as one piece.
    public var snapshotChunkBytes = 1 << 20

    /// Bytes of snapshots this node sends in a second, to all followers together.
    public var snapshotBytesPerSecond = 64 << 20

    /// Snapshots this node sends at the same time.
    public var maxSnapshotsSent = 2

    /// Snapshots this node receives at the same time.
    public var maxSnapshotsReceived = 2

    /// Ticks without an answer after which a piece of a snapshot is sent again.
    public var snapshotRetryTicks = 10

    public init() {}

    /// Checks that the settings make sense, alone and together.
    public func validate() throws(RaftConfigError) {
        try require(tickMilliseconds, "tickMilliseconds", in: 1...10_000)
        try require(heartbeatTicks, "heartbeatTicks", in: 1...1_000)
        try require(electionTicks, "electionTicks", in: 2...10_000)
        guard electionTicks > 2 * heartbeatTicks else {
            throw RaftConfigError(
                key: "electionTicks",
                reason: "\(electionTicks) must be more than twice heartbeatTicks, \(heartbeatTicks)"
            )
        }
        try require(quiesceTicks, "quiesceTicks", in: 0...1_000_000)
        try require(maxConcurrentElections, "maxConcurrentElections", in: 1...1_000_000)
        try require(maxInflightMessages, "maxInflightMessages", in: 1...1 << 20)
        try require(maxInflightBytes, "maxInflightBytes", in: 1...1 << 40)
        try require(commitDelayMilliseconds, "commitDelayMilliseconds", in: 0...1_000)
        try require(maxMessageBytes, "maxMessageBytes", in: 1...1 << 30)
        try require(maxFrameBytes, "maxFrameBytes", in: 1...1 << 30)
        try require(maxUncommittedBytes, "maxUncommittedBytes", in: 1...1 << 40)
        try require(maxCommittedBytesPerTurn, "maxCommittedBytesPerTurn", in: 1...1 << 40)
        try require(readTimeoutMilliseconds, "readTimeoutMilliseconds", in: 1...3_600_000)
        try require(promotionLag, "promotionLag", in: 0...1 << 40)
        try require(snapshotChunkBytes, "snapshotChunkBytes", in: 1...64 << 20)
        try require(snapshotBytesPerSecond, "snapshotBytesPerSecond", in: 1...1 << 40)
        try require(maxSnapshotsSent, "maxSnapshotsSent", in: 1...1_000)
        try require(maxSnapshotsReceived, "maxSnapshotsReceived", in: 1...1_000)
        try require(snapshotRetryTicks, "snapshotRetryTicks", in: 1...10_000)
    }

    private func require(
        _ value: Int,
        _ key: String,
        in range: ClosedRange<Int>
    ) throws(RaftConfigError) {
        guard range.contains(value) else {
            throw RaftConfigError(
                key: key,
                reason: "\(value) is not within \(range.lowerBound) and \(range.upperBound)"
            )
        }
    }

    var readTimeoutTicks: UInt64 {
        UInt64((readTimeoutMilliseconds + tickMilliseconds - 1) / tickMilliseconds)
    }
}

/// Which setting cannot be used, and why.
public struct RaftConfigError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The name of the setting in ``RaftConfig``.
    public let key: String
    public let reason: String

    public init(key: String, reason: String) {
        self.key = key
        self.reason = reason
    }

    public var description: String { "raft setting \(key): \(reason)" }
}
