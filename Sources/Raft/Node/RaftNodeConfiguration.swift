extension RaftNode {
    /// How reads that must not be stale are answered (thesis, 6.4).
    public enum ReadMode: Sendable, Equatable {
        /// Each batch of reads is confirmed by a majority: safe whatever clocks do.
        case readIndex
        /// The leader answers alone while a majority has promised, by answering a heartbeat, not
        /// to vote for an election timeout. Safe only if clocks run at nearly the same speed, and if
        /// nobody calls `campaign()` without knowing that the leader is dead. A replica that comes
        /// back votes for nobody for an election timeout, since it may have promised that before.
        case lease
    }

    /// The settings of one replica; those of a group should agree.
    public struct Configuration: Sendable {
        /// This replica.
        public var id: ReplicaID

        /// Ticks without a leader before an election; each is drawn from one to two times this.
        public var electionTicks = 10

        /// Ticks between heartbeats; a tenth of `electionTicks` tolerates lost ones.
        public var heartbeatTicks = 1

        /// Asks before it disturbs: a replica that cannot win does not raise the term.
        public var preVote = true

        /// A leader that does not hear from a majority for an election timeout steps down, and a
        /// follower that hears from its leader ignores candidates.
        public var checkQuorum = true

        /// Appends sent to one follower and not yet acknowledged.
        public var maxInflightMessages = 256

        /// Bytes sent to one follower and not yet acknowledged: at least bandwidth times round
        /// trip, or the follower is never kept busy.
        public var maxInflightBytes = 16 << 20

        /// Bytes of entries in one append; one larger entry still goes.
        public var maxMessageBytes = 1 << 20

        /// Bytes of committed entries handed out and not yet applied; one larger entry still goes.
        public var maxCommittedBytesPerReady = 8 << 20

        /// Ticks without news of a snapshot on its way before it counts as lost.
        ///
        /// News is `reportSnapshotProgress`; without such reports, longer than any takes.
        public var snapshotTicks = 1_000

        /// Bytes proposed and not yet committed; beyond it proposals are refused.
        public var maxUncommittedBytes = 64 << 20

        /// Reads waiting for a majority's confirmation.
        public var maxPendingReads = 65_536

        /// How soon it campaigns: 0 later than others, 1 ordinary, 2 and more sooner.
        ///
        /// It only shifts timeouts: a reluctant replica still leads if nobody else will.
        public var priority = 1

        public var readMode = ReadMode.readIndex

        /// A leader no longer among the voters stops leading once that is applied.
        public var stepDownOnRemoval = true

        /// Followers refuse proposals instead of passing them on.
        public var disableProposalForwarding = true

        /// Appends are made when a Ready is taken, one for all that was proposed since the last,
        /// instead of one a proposal.
        public var batchesAppends = true

        /// Followers learn of commits at once; otherwise with the next append or heartbeat.
        public var broadcastsCommit = true

        /// Committed entries may be handed out in the very Ready that makes them durable.
        ///
        /// The caller then applies them only after writing that Ready. For callers that write
        /// synchronously.
        public var appliesWithinReady = false

        /// Takes membership changes as they come, even while one is pending.
        ///
        /// For callers that validate changes themselves; unsafe otherwise.
        public var disableChangeValidation = false

        /// Where the randomness of election timeouts starts; different in each replica.
        public var randomSeed: UInt64

        public init(id: ReplicaID, randomSeed: UInt64) {
            self.id = id
            self.randomSeed = randomSeed
        }

        func validate() throws(RaftConfigurationError) {
            func require(_ holds: Bool, _ what: String) throws(RaftConfigurationError) {
                if !holds { throw .invalid(what) }
            }
            try require(id.rawValue != 0, "id 0 names no replica")
            try require(heartbeatTicks > 0, "heartbeatTicks is \(heartbeatTicks)")
            try require(
                electionTicks > heartbeatTicks,
                "electionTicks \(electionTicks) is not above heartbeatTicks \(heartbeatTicks)"
            )
            try require(electionTicks < 1 << 20, "electionTicks is \(electionTicks)")
            try require(maxInflightMessages > 0, "maxInflightMessages is \(maxInflightMessages)")
            try require(maxInflightBytes > 0, "maxInflightBytes is \(maxInflightBytes)")
            try require(maxMessageBytes >= 0, "maxMessageBytes is \(maxMessageBytes)")
            try require(
                maxCommittedBytesPerReady > 0,
                "maxCommittedBytesPerReady is \(maxCommittedBytesPerReady)"
            )
            try require(snapshotTicks > 0, "snapshotTicks is \(snapshotTicks)")
            try require(maxUncommittedBytes > 0, "maxUncommittedBytes is \(maxUncommittedBytes)")
            try require(maxPendingReads > 0, "maxPendingReads is \(maxPendingReads)")
            try require(priority >= 0, "priority is \(priority)")
            try require(
                readMode == .readIndex || checkQuorum,
                "lease reads need checkQuorum: without it followers promise nothing"
            )
        }
    }
}
