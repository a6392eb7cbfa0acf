package import Bytes
package import KafkaMessages
package import KafkaProtocol

/// The limits and times of the group coordinator; milliseconds where it is a time.
package struct GroupSettings: Sendable {
    package var initialRebalanceDelay: Int64 = 3_000
    package var minSessionTimeout: Int64 = 6_000
    package var maxSessionTimeout: Int64 = 1_800_000
    package var maxGroupSize = Int(Int32.max)
    package var offsetMetadataMaxBytes = 4_096
    package var offsetsRetention: Int64 = 604_800_000
    package var maxGroups = 100_000
    /// Records of a partition of `__consumer_offsets` after which its groups are written to it once
    /// more, at least.
    package var snapshotRecords: Int64 = 10_000

    package init() {}
}

/// The groups of one partition of `__consumer_offsets`: the classic group protocol.
///
/// No IO, no waiting: requests, times and the outcome of writes come in, replies and writes go out
/// in ``GroupEffects``. Deadlines are in milliseconds of a clock that only goes forward, what goes
/// into the log in milliseconds since 1970. Offsets change only by replay of what is committed; a
/// reply that promises something is given only after the write it depends on.
package final class GroupCoordinatorShard {
    let settings: GroupSettings
    private(set) var groups: [String: Group] = [:]
    let earliest = EarliestDeadline()
    /// Called when a write is committed or has failed.
    private var writesUnderWay: [UInt64: (ErrorCode, inout GroupEffects, Int64) -> Void] = [:]
    private var nextWrite: UInt64 = 1
    private let memberSuffix: () -> String
    let wallMilliseconds: () -> Int64
    /// Records of kinds this version does not know, which were passed over.
    package private(set) var unknownRecords = 0

    /// Makes a coordinator without groups.
    ///
    /// - Parameters:
    ///   - settings: limits and times.
    ///   - wallMilliseconds: the time of day, in milliseconds since 1970.
    ///   - memberSuffix: gives a new random text each time, for member ids.
    package init(
        settings: GroupSettings,
        wallMilliseconds: @escaping () -> Int64,
        memberSuffix: @escaping () -> String
    ) {
        self.settings = settings
        self.wallMilliseconds = wallMilliseconds
        self.memberSuffix = memberSuffix
    }

    /// The whole must fit into a string of the log, however long the prefix.
    func memberID(prefix: String) -> String {
        String(String.UnicodeScalarView(prefix.unicodeScalars.prefix(255))) + "-" + memberSuffix()
    }

    static func isValid(groupID: String) -> Bool {
        !groupID.isEmpty && groupID.utf8.count <= GroupRecords.maxNameBytes
    }

    func group(_ id: String) -> Group? { groups[id] }

    func makeGroup(_ id: String) -> Group {
        let group = Group(id: id, wallMilliseconds: wallMilliseconds(), earliest)
        groups[id] = group
        return group
    }

    func transition(_ group: Group, to state: GroupState) {
        group.state = state
        group.stateSince = wallMilliseconds()
    }

    func write(
        _ records: [CoordinatorRecord],
        _ effects: inout GroupEffects,
        then finish: @escaping (ErrorCode, inout GroupEffects, Int64) -> Void
    ) -> UInt64 {
        let id = nextWrite
        nextWrite += 1
        writesUnderWay[id] = finish
        effects.writes.append(GroupEffects.Write(id: id, records: records))
        return id
    }

    /// A write is committed (`.none`), or it failed.
    package func appendFinished(_ id: UInt64, _ code: ErrorCode, now: Int64) -> GroupEffects {
        var effects = GroupEffects()
        writesUnderWay.removeValue(forKey: id)?(Self.translated(code), &effects, now)
        return effects
    }

    /// What a client of the coordinator makes of a failure to append.
    private static func translated(_ code: ErrorCode) -> ErrorCode {
        switch code {
        case .none: .none
        case .notLeaderOrFollower: .notCoordinator
        case .messageTooLarge: .invalidCommitOffsetSize
        default: .coordinatorNotAvailable
        }
    }

    // MARK: The log

    /// Takes in a committed record.
    ///
    /// Offsets always; members only while another node leads, because a live group is ahead of
    /// its log.
    package func replay(key: ByteSlice, value: ByteSlice?, isLoading: Bool) {
        guard let record = try? GroupRecords.decode(key: key, value: value) else {
            unknownRecords += 1
            return
        }
        switch record {
        case .offset(let id, let topic, let partition, let offset):
            if let offset {
                let group = groups[id] ?? makeGroup(id)
                group.offsets[topic, default: [:]][partition] = offset
            } else if let group = groups[id] {
                group.offsets[topic]?[partition] = nil
                if group.offsets[topic]?.isEmpty == true { group.offsets[topic] = nil }
                removeIfVoid(group)
            }
        case .group(let id, let value?):
            let group = groups[id] ?? makeGroup(id)
            group.committed = value
            if isLoading { load(value, into: group) }
        case .group(let id, nil):
            guard let group = groups[id] else { return }
            group.committed = nil
            if isLoading || group.isIdle { forgetMembership(of: group) }
            removeIfVoid(group)
        case .unknown: unknownRecords += 1
        }
    }

    private func forgetMembership(of group: Group) {
        for member in group.members { group.remove(member.id) }
        group.generation = 0
        group.protocolType = nil
        group.protocolName = nil
        group.leader = nil
        transition(group, to: .empty)
    }

    private func load(_ value: GroupMetadataValue, into group: Group) {
        forgetMembership(of: group)
        group.generation = value.generation
        group.protocolType = value.protocolType.isEmpty ? nil : value.protocolType
        group.protocolName = value.protocol
        for entry in value.members {
            let member = GroupMember(
                id: entry.memberId,
                instanceID: entry.groupInstanceId,
                clientID: entry.clientId,
                clientHost: entry.clientHost,
                sessionTimeout: Int64(entry.sessionTimeout),
                rebalanceTimeout: Int64(entry.rebalanceTimeout),
                protocols: [(value.protocol ?? "", entry.subscription)],
                assignment: entry.assignment,
                // Its session is kept by the node that leads.
                sessionDeadline: .max
            )
            if group.index(of: member.id) == nil { group.add(member) }
        }
        group.leader = value.leader
        transition(group, to: value.members.isEmpty ? .empty : .stable)
        if value.currentStateTimestamp >= 0 { group.stateSince = value.currentStateTimestamp }
    }

    /// What the log says of all groups, in records.
    package var recordCount: Int {
        groups.values.reduce(0) { sum, group in
            let offsets = group.offsets.values.reduce(0) { $0 + $1.count }
            return sum + offsets + (group.committed == nil ? 0 : 1)
        }
    }

    /// What the log says of a group, in as few records as there can be.
    package func records(of id: String) -> [CoordinatorRecord] {
        guard let group = groups[id] else { return [] }
        var records = group.committed.map { [GroupRecords.group(id, $0)] } ?? []
        for (topic, partitions) in committedOffsets(group: id) {
            for (partition, offset) in partitions {
                records.append(
                    GroupRecords.offset(group: id, topic: topic, partition: partition, offset)
                )
            }
        }
        return records
    }

    // MARK: Leadership

    /// This node coordinates from now on: members get a whole session to report to it.
    package func lead(now: Int64) {
        for group in groups.values {
            group.updateAll { $0.sessionDeadline = now + $0.sessionTimeout }
        }
    }

    /// Gives up: whoever waits is told to look for the coordinator again, and what is not in the
    /// log is forgotten.
    package func unload() -> GroupEffects {
        var effects = GroupEffects()
        let live = groups.values.sorted { $0.id < $1.id }
        groups = [:]
        defer { earliest.reset() }
        for group in live {
            group.updateAll { member in
                if let token = member.awaitingJoin {
                    effects.replies.append(
                        (token, .join(Self.joinFailure(.notCoordinator, memberID: member.id)))
                    )
                }
                if let token = member.awaitingSync {
                    effects.replies.append((token, .sync(Self.syncFailure(.notCoordinator))))
                }
                member.awaitingJoin = nil
                member.awaitingSync = nil
            }
            group.state = .dead
            guard group.committed != nil || !group.offsets.isEmpty else { continue }
            let kept = makeGroup(group.id)
            kept.offsets = group.offsets
            kept.committed = group.committed
            if let value = group.committed { load(value, into: kept) }
        }
        let writes = writesUnderWay.sorted { $0.key < $1.key }
        writesUnderWay = [:]
        for (_, finish) in writes { finish(.notCoordinator, &effects, 0) }
        return effects
    }

    static func joinFailure(_ code: ErrorCode, memberID: String) -> JoinGroupResponse {
        var response = JoinGroupResponse()
        response.errorCode = code.rawValue
        response.memberId = memberID
        // Null is allowed from version 7 on; the name is empty before.
        response.protocolName = ""
        return response
    }

    static func syncFailure(_ code: ErrorCode) -> SyncGroupResponse {
        var response = SyncGroupResponse()
        response.errorCode = code.rawValue
        return response
    }

    // MARK: Groups come and go

    /// A group of which the log knows nothing and which nobody is in, is none.
    func removeIfVoid(_ group: Group) {
        guard group.isIdle, group.committed == nil, group.offsets.isEmpty else { return }
        group.state = .dead
        // Deleted twice, the name may be another group's by now.
        if groups[group.id] === group { groups[group.id] = nil }
    }

    /// Deletes an empty group with its offsets.
    package func delete(_ id: String, token: ReplyToken, now: Int64) -> GroupEffects {
        var effects = GroupEffects()
        guard let group = groups[id] else {
            effects.replies.append((token, .delete(ErrorCode.groupIdNotFound.rawValue)))
            return effects
        }
        guard group.isIdle else {
            effects.replies.append((token, .delete(ErrorCode.nonEmptyGroup.rawValue)))
            return effects
        }
        var records = tombstones(of: group) { _, _, _ in true }
        records.append(GroupRecords.groupRemoved(id))
        _ = write(records, &effects) { code, effects, _ in
            effects.replies.append((token, .delete(code.rawValue)))
        }
        return effects
    }

    func tombstones(
        of group: Group,
        where isGone: (String, Int32, CommittedOffset) -> Bool
    ) -> [CoordinatorRecord] {
        var records: [CoordinatorRecord] = []
        for (topic, partitions) in group.offsets.sorted(by: { $0.key < $1.key }) {
            for (partition, offset) in partitions.sorted(by: { $0.key < $1.key })
            where isGone(topic, partition, offset) {
                records.append(
                    GroupRecords.offset(
                        group: group.id,
                        topic: topic,
                        partition: partition,
                        nil
                    )
                )
            }
        }
        return records
    }

    /// A topic is gone, and with it the offsets in it.
    package func topicDeleted(_ topic: String, now: Int64) -> GroupEffects {
        var effects = GroupEffects()
        for group in groups.values.sorted(by: { $0.id < $1.id }) where group.offsets[topic] != nil {
            let records = tombstones(of: group) { name, _, _ in name == topic }
            _ = write(records, &effects) { _, _, _ in }
        }
        return effects
    }

    /// Forgets the offsets of groups that have been empty for long, and groups without any.
    package func expireOffsets() -> GroupEffects {
        var effects = GroupEffects()
        let now = wallMilliseconds()
        for group in groups.values.sorted(by: { $0.id < $1.id }) where group.isIdle {
            // A simple consumer's group has no state that changes: its commits keep it alive.
            let since = group.protocolType == nil ? Int64.min : group.stateSince
            var records = tombstones(of: group) { _, _, offset in
                now - max(since, offset.commitTimestamp) > settings.offsetsRetention
            }
            let kept = group.offsets.values.reduce(0) { $0 + $1.count } - records.count
            if kept == 0 && now - group.stateSince > settings.offsetsRetention {
                records.append(GroupRecords.groupRemoved(group.id))
            }
            guard !records.isEmpty else { continue }
            _ = write(records, &effects) { _, _, _ in }
        }
        return effects
    }

    // MARK: Descriptions

    package func list() -> [(id: String, protocolType: String, state: GroupState)] {
        groups.values.sorted { $0.id < $1.id }.map { ($0.id, $0.protocolType ?? "", $0.state) }
    }

    package func describe(_ id: String) -> DescribeGroupsResponse.DescribedGroup {
        var description = DescribeGroupsResponse.DescribedGroup()
        description.groupId = id
        guard let group = groups[id] else {
            description.groupState = GroupState.dead.rawValue
            return description
        }
        description.groupState = group.state.rawValue
        description.protocolType = group.protocolType ?? ""
        let isSettled = group.state == .stable
        description.protocolData = isSettled ? group.protocolName ?? "" : ""
        description.members = group.members.map { member in
            var entry = DescribeGroupsResponse.DescribedGroupMember()
            entry.memberId = member.id
            entry.groupInstanceId = member.instanceID
            entry.clientId = member.clientID
            entry.clientHost = member.clientHost
            if isSettled {
                entry.memberMetadata = member.metadata(of: group.protocolName ?? "")
                entry.memberAssignment = member.assignment
            }
            return entry
        }
        return description
    }

    /// When to call ``expire(now:)``; earlier it does nothing.
    package var nextDeadline: Int64 { earliest.time }
}

/// Which partition of `__consumer_offsets` a group belongs to.
package enum OffsetsPartitioner {
    /// Java's hash of the group id, without its sign, modulo the number of partitions.
    package static func partition(of group: String, count: Int32) -> Int32 {
        var hash: Int32 = 0
        for unit in group.utf16 { hash = hash &* 31 &+ Int32(unit) }
        return (hash == Int32.min ? 0 : abs(hash)) % count
    }
}
