package import KafkaMessages

/// Which brokers replicate a partition, and which are on their way in or out.
///
/// A move is Raft's: a broker that is added first learns, then votes after a joint change, and
/// only then do those that leave go.
package struct ReplicaAssignment: Sendable, Equatable {
    /// All replicas: the target in its order, then those that leave.
    ///
    /// The first is preferred as leader.
    package var replicas: [Int32]
    /// Of the target, those that are yet to become voters.
    package var adding: [Int32] = []
    /// Those that are to leave.
    package var removing: [Int32] = []
    /// Replicas whose disk was lost while they were voters: they leave, and before they come back.
    package var renewing: [Int32] = []
    /// Those of them that have left and are to be added again.
    package var rejoining: [Int32] = []
    /// The replicas before the reassignment under way; empty when there is none.
    package var original: [Int32] = []
    /// Rises with every change, so that a leader's report on an earlier one is known as such.
    package var revision: Int32 = 0
    /// How far the group's log was committed when its leader last said who has left: what those that
    /// are no replicas any more may have promised lies before.
    package var settledIndex: UInt64 = 0

    package init(
        replicas: [Int32],
        adding: [Int32] = [],
        removing: [Int32] = [],
        renewing: [Int32] = [],
        rejoining: [Int32] = [],
        original: [Int32] = [],
        revision: Int32 = 0,
        settledIndex: UInt64 = 0
    ) {
        self.replicas = replicas
        self.adding = adding
        self.removing = removing
        self.renewing = renewing
        self.rejoining = rejoining
        self.original = original
        self.revision = revision
        self.settledIndex = settledIndex
    }

    /// The replicas once every move is done.
    package var target: [Int32] {
        removing.isEmpty ? replicas : replicas.filter { !removing.contains($0) }
    }

    /// What a client asked for and is not done yet.
    package var isReassigning: Bool { !adding.isEmpty || !removing.isEmpty }

    /// Whether the group's members have to change.
    package var isMoving: Bool { isReassigning || !renewing.isEmpty || !rejoining.isEmpty }

    /// Whether a broker is to have the partition's files.
    package func isHosted(on broker: Int32) -> Bool {
        replicas.contains(broker) && !renewing.contains(broker)
    }
}

/// Who leads a partition, as its leader last said.
///
/// Raft elects; this is what it elected, for those who are not of the group. Terms only rise.
package struct PartitionLeadership: Sendable, Equatable {
    package var leader: Int32
    /// The leader's Raft term.
    package var epoch: Int32
    /// Replicas whose log had reached the leader's a moment ago, the leader among them.
    ///
    /// For Kafka's clients to read. No acknowledgement depends on it; a majority of the voters is
    /// what counts.
    package var inSync: [Int32]

    package init(leader: Int32, epoch: Int32, inSync: [Int32]) {
        self.leader = leader
        self.epoch = epoch
        self.inSync = inSync
    }

    /// Before any leader was heard of.
    package static let unknown = PartitionLeadership(leader: -1, epoch: -1, inSync: [])
}

extension MetadataImage {
    package struct Partition: Sendable, Equatable {
        package let index: Int32
        /// The Raft group that replicates it; never used again once the partition is gone.
        package let groupID: UInt64
        /// The members the group began with.
        package let firstReplicas: [Int32]
        /// Those of the first members that never left: only they may begin with an empty log as
        /// voters, since they have not voted before.
        package private(set) var founders: [Int32]
        package internal(set) var assignment: ReplicaAssignment {
            didSet {
                let asked = assignment
                founders.removeAll {
                    !asked.replicas.contains($0) || asked.adding.contains($0)
                        || asked.renewing.contains($0) || asked.rejoining.contains($0)
                }
            }
        }
        package internal(set) var leadership = PartitionLeadership.unknown

        package init(index: Int32, groupID: UInt64, replicas: [Int32]) {
            self.index = index
            self.groupID = groupID
            firstReplicas = replicas
            founders = replicas
            assignment = ReplicaAssignment(replicas: replicas)
        }

        init(
            index: Int32,
            groupID: UInt64,
            firstReplicas: [Int32],
            founders: [Int32],
            assignment: ReplicaAssignment,
            leadership: PartitionLeadership
        ) {
            self.index = index
            self.groupID = groupID
            self.firstReplicas = firstReplicas
            self.founders = founders
            self.assignment = assignment
            self.leadership = leadership
        }

        package var replicas: [Int32] { assignment.replicas }

        /// How a broker without files of this partition begins with it.
        package enum Beginning: Sendable, Equatable {
            /// As one of the group's first voters.
            case founder(voters: [Int32])
            /// Without a vote, until the group's leader has added it.
            ///
            /// What it may have promised before, on this disk or another, was in no later term and
            /// for no later entry: a leader of that term or an earlier one has reported that it left.
            case joiner(after: Int32, index: UInt64)
        }

        /// `nil` when it is not to begin: it has no part, or counts as the voter it was still.
        package func beginning(on broker: Int32) -> Beginning? {
            guard assignment.isHosted(on: broker) else { return nil }
            return founders.contains(broker)
                ? .founder(voters: firstReplicas)
                : .joiner(after: max(0, leadership.epoch), index: assignment.settledIndex)
        }
    }

    /// Where the partition of a group is found.
    package struct PartitionPlace: Sendable, Hashable {
        package let topicID: KafkaUUID
        package let topic: String
        package let index: Int32
    }
}
