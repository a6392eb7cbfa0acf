import Bytes
import KafkaMessages

/// The states of a classic consumer group.
///
///     Empty ── join ──► PreparingRebalance ── all joined, or time is up ──► CompletingRebalance
///       ▲                 ▲          │ nobody is left                          │ leader's sync
///       └─────────────────┼──────────┘                                        ▼ is committed
///                         └── join, leave, expiry ────────────────────────── Stable
package enum GroupState: String, Sendable {
    case empty = "Empty"
    case preparingRebalance = "PreparingRebalance"
    case completingRebalance = "CompletingRebalance"
    case stable = "Stable"
    case dead = "Dead"
}

/// A member of a group.
struct GroupMember {
    let id: String
    var instanceID: String?
    var clientID: String
    var clientHost: String
    var sessionTimeout: Int64
    var rebalanceTimeout: Int64
    /// In the member's order of preference.
    var protocols: [(name: String, metadata: ByteSlice)]
    var assignment = ByteSlice()
    var awaitingJoin: ReplyToken?
    var awaitingSync: ReplyToken?
    /// Milliseconds; later than that without a sign of life, and the member is out.
    var sessionDeadline: Int64
    /// Whether its SyncGroup of this generation has come.
    var hasSynced = false

    /// Whether it must give signs of life: not while it waits for us.
    var isWatched: Bool { awaitingJoin == nil && awaitingSync == nil }

    func metadata(of name: String) -> ByteSlice {
        protocols.first { $0.name == name }?.metadata ?? ByteSlice()
    }

    func hasSameProtocols(as other: [(name: String, metadata: ByteSlice)]) -> Bool {
        protocols.count == other.count
            && zip(protocols, other).allSatisfy { $0.name == $1.name && $0.metadata == $1.metadata }
    }
}

/// A committed offset of a group.
package struct CommittedOffset: Equatable, Sendable {
    package var offset: Int64
    package var leaderEpoch: Int32
    package var metadata: String
    package var commitTimestamp: Int64
}

/// The earliest deadline of all groups of a coordinator, or a time before it: of what is put off it
/// does not hear.
final class EarliestDeadline {
    private(set) var time = Int64.max

    func note(_ deadline: Int64) { time = min(time, deadline) }

    func reset() { time = .max }
}

/// A group: its members, and where they are in the rebalance.
final class Group {
    let id: String
    var state = GroupState.empty
    /// Milliseconds since 1970, because it goes into the log.
    var stateSince: Int64
    /// What the log says of the group; members and generation run ahead of it.
    var committed: GroupMetadataValue?
    var generation: Int32 = 0
    var protocolType: String?
    var protocolName: String?
    var leader: String?
    /// In the order in which they joined.
    private(set) var members: [GroupMember] = []
    /// Ids given out to members that have not come back with them yet, and until when.
    private(set) var pendingMembers: [(id: String, deadline: Int64)] = []
    /// When the join phase ends whether all have joined or not.
    var joinDeadline: Int64? { didSet { note(joinDeadline) } }
    /// While a group that was empty gathers its first members: how much longer it may.
    var initialDelayLeft: Int64?
    var hasNewMember = false
    /// When members that have not synced are put out.
    var syncDeadline: Int64? { didSet { note(syncDeadline) } }
    /// The write of the assignment under way, if any.
    var assignmentWrite: UInt64?
    var offsets: [String: [Int32: CommittedOffset]] = [:]
    private let earliest: EarliestDeadline

    init(id: String, wallMilliseconds: Int64, _ earliest: EarliestDeadline) {
        self.id = id
        stateSince = wallMilliseconds
        self.earliest = earliest
    }

    var isEmpty: Bool { members.isEmpty }

    /// Without members, and nobody is about to become one.
    var isIdle: Bool { state == .empty && isEmpty && pendingMembers.isEmpty }

    func index(of id: String) -> Int? { members.firstIndex { $0.id == id } }

    func member(_ id: String) -> GroupMember? { members.first { $0.id == id } }

    func member(instance: String) -> GroupMember? { members.first { $0.instanceID == instance } }

    func update(_ id: String, _ change: (inout GroupMember) -> Void) {
        guard let index = index(of: id) else { return }
        change(&members[index])
        note(members[index])
    }

    func updateAll(_ change: (inout GroupMember) -> Void) {
        for index in members.indices {
            change(&members[index])
            note(members[index])
        }
    }

    func add(_ member: GroupMember) {
        precondition(index(of: member.id) == nil, "member \(member.id) added twice")
        if leader == nil { leader = member.id }
        members.append(member)
        note(member)
    }

    @discardableResult
    func remove(_ id: String) -> GroupMember? {
        guard let index = index(of: id) else { return nil }
        let member = members.remove(at: index)
        if leader == id { leader = members.first?.id }
        return member
    }

    /// A static member comes back under a new id, in the place of the old.
    func replace(_ old: String, with member: GroupMember) {
        guard let index = index(of: old) else { return }
        members[index] = member
        note(member)
        if leader == old { leader = member.id }
    }

    func addPending(_ id: String, until deadline: Int64) {
        pendingMembers.append((id, deadline))
        note(deadline)
    }

    func isPending(_ id: String) -> Bool { pendingMembers.contains { $0.id == id } }

    func removePending(_ id: String) { pendingMembers.removeAll { $0.id == id } }

    /// Whether the time of any was over.
    func removePending(dueAt now: Int64) -> Bool {
        let count = pendingMembers.count
        pendingMembers.removeAll { $0.deadline <= now }
        return pendingMembers.count < count
    }

    // MARK: Deadlines

    /// Tells again of every deadline it has.
    func noteDeadlines() {
        note(joinDeadline)
        note(syncDeadline)
        for pending in pendingMembers { note(pending.deadline) }
        for member in members { note(member) }
    }

    private func note(_ member: GroupMember) {
        if member.isWatched { note(member.sessionDeadline) }
    }

    private func note(_ deadline: Int64?) { if let deadline { earliest.note(deadline) } }

    var hasAllJoined: Bool {
        pendingMembers.isEmpty && members.allSatisfy { $0.awaitingJoin != nil }
    }

    var longestRebalanceTimeout: Int64 { members.map(\.rebalanceTimeout).max() ?? 0 }

    /// Protocols that every member knows, in the leader's order.
    var commonProtocols: [String] {
        guard let first = members.first(where: { $0.id == leader }) ?? members.first else {
            return []
        }
        return first.protocols.map(\.name).filter { name in
            members.allSatisfy { $0.protocols.contains { $0.name == name } }
        }
    }

    func supports(type: String, protocols: [(name: String, metadata: ByteSlice)]) -> Bool {
        if isEmpty { return !type.isEmpty && !protocols.isEmpty }
        guard type == protocolType else { return false }
        let common = commonProtocols
        return protocols.contains { common.contains($0.name) }
    }

    /// The protocol most members prefer among those all of them know.
    func selectProtocol() -> String? {
        let common = commonProtocols
        var votes = [Int](repeating: 0, count: common.count)
        for member in members {
            let preferred = member.protocols.first { common.contains($0.name) }?.name
            if let preferred, let place = common.firstIndex(of: preferred) { votes[place] += 1 }
        }
        guard let most = votes.max(), let place = votes.firstIndex(of: most) else { return nil }
        return common[place]
    }
}
