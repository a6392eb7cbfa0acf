import Bytes
import Coordinators
import FuzzDriver
import KafkaMessages
import KafkaProtocol

/// A coordinator under requests of the input's choice.
///
/// Whatever comes, every request is answered exactly once, every answer can be encoded in the
/// version that was asked in, and a coordinator that reads the log knows the same offsets.
final class CoordinatorLife {
    typealias Encoder = (GroupReply) throws -> Void

    private let shard: GroupCoordinatorShard
    private var now: Int64 = 0
    private var nextToken: UInt64 = 1
    private var waiting: [ReplyToken: Encoder] = [:]
    private var writes: [GroupEffects.Write] = []
    private var log: [CoordinatorRecord] = []
    private var strings = RequestStrings()

    init() {
        nonisolated(unsafe) var members = 0
        shard = GroupCoordinatorShard(settings: GroupSettings()) {
            members += 1
            // As long as the random text of the broker.
            return "\(members)-" + String(repeating: "0", count: 30)
        }
    }

    func step(_ input: inout FuzzInput) {
        switch input.byte() % 12 {
        case 0, 1: join(&input)
        case 2: sync(&input)
        case 3: heartbeat(&input)
        case 4: leave(&input)
        case 5, 6: commit(&input)
        case 7: delete(&input)
        case 8, 9: endWrite(&input)
        case 10:
            now += Int64(input.integer(UInt16.self)) * 100
            carryOut(shard.expire(now: now))
        default:
            now += Int64(input.integer(UInt16.self)) * 100_000
            carryOut(shard.expireOffsets(now: now))
        }
    }

    func finish() {
        for group in shard.list() { _ = shard.describe(group.id) }
        checkReplay()
        carryOut(shard.unload())
        require(waiting.isEmpty, "\(waiting.count) requests were never answered")
    }

    // MARK: Effects

    private func token(_ encode: @escaping Encoder) -> ReplyToken {
        defer { nextToken += 1 }
        waiting[ReplyToken(nextToken)] = encode
        return ReplyToken(nextToken)
    }

    private func carryOut(_ effects: GroupEffects) {
        writes += effects.writes
        for write in effects.writes { require(!write.records.isEmpty, "a write of no records") }
        for (token, reply) in effects.replies {
            guard let encode = waiting.removeValue(forKey: token) else {
                finding("\(reply) answers what was answered before")
            }
            if case .join(let response) = reply, Self.givesID(response) {
                strings.remember(member: response.memberId)
            }
            do {
                try encode(reply)
            } catch {
                finding("\(reply) cannot be encoded: \(error)")
            }
        }
    }

    private static func givesID(_ response: JoinGroupResponse) -> Bool {
        [ErrorCode.none, .memberIdRequired].contains { $0.rawValue == response.errorCode }
    }

    private func endWrite(_ input: inout FuzzInput) {
        guard !writes.isEmpty else { return }
        // A partition's log grows in order; failures may come in any.
        let flags = input.byte()
        let fails = flags & 3 == 3
        let write = writes.remove(at: fails ? Int(flags >> 2) % writes.count : 0)
        if !fails {
            log += write.records
            for record in write.records {
                shard.replay(key: record.key, value: record.value, isLoading: false, now: now)
            }
        }
        carryOut(shard.appendFinished(write.id, fails ? .messageTooLarge : .none, now: now))
    }

    /// A coordinator that starts anew reads every record, and knows every offset.
    private func checkReplay() {
        let next = GroupCoordinatorShard(settings: GroupSettings()) { "" }
        for record in log {
            next.replay(key: record.key, value: record.value, isLoading: true, now: now)
        }
        require(next.unknownRecords == 0, "\(next.unknownRecords) records of the log are unknown")
        for group in shard.list() {
            let (mine, its) = (offsets(shard, group.id), offsets(next, group.id))
            require(mine == its, "\(group.id) had \(mine), has \(its)")
        }
        carryOut(next.expire(now: now + 1))
    }

    private func offsets(_ shard: GroupCoordinatorShard, _ group: String) -> [String] {
        shard.committedOffsets(group: group).map { "\($0)" }
    }

    // MARK: Requests

    private func join(_ input: inout FuzzInput) {
        var request = JoinGroupRequest()
        let version = Int16(input.byte() % 10)
        strings.areCompact = version >= 6
        defer { strings.areCompact = true }
        request.groupId = strings.group(&input)
        request.memberId = strings.member(&input)
        request.groupInstanceId = version < 5 ? nil : strings.instance(&input)
        request.sessionTimeoutMs = 6_000 + Int32(input.byte()) * 1_000
        request.rebalanceTimeoutMs = Int32(input.integer(Int16.self)) * 10
        let choice = input.byte()
        request.protocolType = choice & 1 == 0 ? "consumer" : strings.name(&input)
        for number in 0..<1 + choice >> 6 {
            var entry = JoinGroupRequest.JoinGroupRequestProtocol()
            entry.name = choice & 2 == 0 ? "range \(number)" : strings.name(&input)
            entry.metadata = choice & 4 == 0 ? ByteSlice([0, 1, 0, 0]) : input.slice(24)
            request.protocols.append(entry)
        }
        let client = GroupClient(
            clientID: choice & 8 == 0 ? "client" : strings.clientID(&input),
            host: "/127.0.0.1",
            version: version
        )
        let token = token {
            guard case .join(let response) = $0 else { finding("\($0) answers a JoinGroup") }
            try Encoded.check(response, version)
        }
        carryOut(shard.join(request, client, token: token, now: now))
    }

    private func sync(_ input: inout FuzzInput) {
        var request = SyncGroupRequest()
        request.groupId = strings.group(&input)
        request.memberId = strings.member(&input)
        request.generationId = Int32(input.byte())
        request.groupInstanceId = strings.instance(&input)
        for member in strings.members.prefix(3) {
            var entry = SyncGroupRequest.SyncGroupRequestAssignment()
            entry.memberId = member
            entry.assignment = input.slice(8)
            request.assignments.append(entry)
        }
        let token = token {
            guard case .sync(let response) = $0 else { finding("\($0) answers a SyncGroup") }
            try Encoded.check(response, 5)
        }
        carryOut(shard.sync(request, token: token, now: now))
    }

    private func heartbeat(_ input: inout FuzzInput) {
        var request = HeartbeatRequest()
        request.groupId = strings.group(&input)
        request.memberId = strings.member(&input)
        request.generationId = Int32(input.byte())
        request.groupInstanceId = strings.instance(&input)
        let token = token {
            guard case .heartbeat(let response) = $0 else { finding("\($0) answers a Heartbeat") }
            try Encoded.check(response, 4)
        }
        carryOut(shard.heartbeat(request, token: token, now: now))
    }

    private func leave(_ input: inout FuzzInput) {
        var request = LeaveGroupRequest()
        let version = Int16(input.byte() % 6)
        strings.areCompact = version >= 4
        defer { strings.areCompact = true }
        request.groupId = strings.group(&input)
        request.memberId = version < 3 ? strings.member(&input) : ""
        for _ in 0..<(version < 3 ? 0 : input.byte() & 3) {
            var member = LeaveGroupRequest.MemberIdentity()
            member.memberId = strings.member(&input)
            member.groupInstanceId = strings.instance(&input)
            request.members.append(member)
        }
        let token = token {
            guard case .leave(let response) = $0 else { finding("\($0) answers a LeaveGroup") }
            try Encoded.check(response, version)
        }
        carryOut(shard.leave(request, version: version, token: token, now: now))
    }

    private func commit(_ input: inout FuzzInput) {
        var request = OffsetCommitRequest()
        request.groupId = strings.group(&input)
        request.memberId = strings.member(&input)
        request.generationIdOrMemberEpoch = Int32(Int8(bitPattern: input.byte()))
        request.groupInstanceId = strings.instance(&input)
        var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
        // The handler lets through no topic that does not exist.
        topic.name = input.byte() & 1 == 0 ? "orders" : "payments"
        for _ in 0..<input.byte() & 3 {
            var partition = OffsetCommitRequest.OffsetCommitRequestPartition()
            partition.partitionIndex = Int32(input.byte() & 3)
            partition.committedOffset = input.integer()
            partition.committedMetadata = strings.instance(&input)
            topic.partitions.append(partition)
        }
        request.topics = [topic]
        let token = token {
            guard case .offsetCommit(let response) = $0 else {
                finding("\($0) for an OffsetCommit")
            }
            try Encoded.check(response, 9)
        }
        carryOut(
            shard.commitOffsets(request, token: token, now: now, wallMilliseconds: now)
        )
    }

    private func delete(_ input: inout FuzzInput) {
        let choice = input.byte() % 3
        if choice == 0 { return carryOut(shard.topicDeleted("orders", now: now)) }
        let group = strings.group(&input)
        if choice == 1 {
            return carryOut(shard.delete(group, token: token { _ in }, now: now))
        }
        var topic = OffsetDeleteRequest.OffsetDeleteRequestTopic()
        topic.name = "orders"
        for index in 0..<Int32(input.byte() & 3) {
            var partition = OffsetDeleteRequest.OffsetDeleteRequestPartition()
            partition.partitionIndex = index
            topic.partitions.append(partition)
        }
        var request = OffsetDeleteRequest()
        request.groupId = group
        request.topics = [topic]
        carryOut(shard.deleteOffsets(request, token: token { _ in }, now: now))
    }
}

/// Whether a response can go out.
enum Encoded {
    static func check<M: KafkaMessage>(_ message: M, _ version: Int16) throws {
        var writer = ByteWriter()
        try message.encode(into: &writer, version: version)
        _ = writer.finish()
    }
}
