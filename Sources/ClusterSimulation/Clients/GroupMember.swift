import Bytes
import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// One member of a consumer group: joins, reads what it is assigned, commits, and goes on through
/// every rebalance.
final class GroupMember: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private enum Step {
        case join, stay, findCoordinator
    }

    let name: String
    let group: String
    private let places: [TopicPartition]
    private let client: KafkaClient
    private var coordinator: Int32?
    private var memberID = ""
    private var generation: Int32 = -1
    private var readers: [PartitionReader] = []
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    /// In long runs as long as in life, for the sake of few heartbeats.
    private var sessionTimeout: Int64 {
        .seconds(world.plan.isLong ? 30 : 3)
    }

    init(_ name: String, group: String, reading places: [TopicPartition], in world: ClusterWorld) {
        self.name = name
        self.group = group
        self.places = places
        client = KafkaClient(name, in: world)
    }

    func run() async {
        while !world.areGroupsEnding {
            guard let node = await findCoordinator() else {
                await client.pause(upTo: .milliseconds(300))
                continue
            }
            guard await join(node), await askCommitted(node) else {
                await client.pause(upTo: .milliseconds(200))
                continue
            }
            await work(node)
        }
        await leave()
        hasEnded = true
    }

    // MARK: The coordinator

    private func findCoordinator() async -> Int32? {
        if let coordinator { return coordinator }
        var request = FindCoordinatorRequest()
        request.key = group
        guard let answer = await client.ask(client.anyNode, request, version: 2),
            answer.errorCode == 0, answer.nodeId >= 0
        else { return nil }
        coordinator = answer.nodeId
        return coordinator
    }

    /// What an error of the coordinator asks for.
    private func note(_ code: Int16) {
        switch ErrorCode(rawValue: code) {
        case .notCoordinator, .coordinatorNotAvailable: coordinator = nil
        case .unknownMemberId: memberID = ""
        default: break
        }
    }

    // MARK: Joining

    private func join(_ node: Int32) async -> Bool {
        var request = JoinGroupRequest()
        request.groupId = group
        request.sessionTimeoutMs = Int32(sessionTimeout / 1_000_000)
        request.rebalanceTimeoutMs = request.sessionTimeoutMs + 1_000
        request.memberId = memberID
        request.protocolType = "consumer"
        var way = JoinGroupRequest.JoinGroupRequestProtocol()
        way.name = "simulated"
        way.metadata = subscription
        request.protocols = [way]
        guard
            let answer = await client.ask(node, request, version: 5, within: .seconds(12))
        else {
            coordinator = nil
            return false
        }
        if answer.errorCode == ErrorCode.memberIdRequired.rawValue {
            memberID = answer.memberId
            return await join(node)
        }
        guard answer.errorCode == 0 else {
            note(answer.errorCode)
            return false
        }
        memberID = answer.memberId
        generation = answer.generationId
        return await sync(node, answer)
    }

    private var subscription: ByteSlice {
        var writer = ByteWriter()
        writer.write(Int16(0))
        let topics = places.map(\.topic).reduce(into: [String]()) {
            if !$0.contains($1) { $0.append($1) }
        }
        writer.write(Int32(topics.count))
        for topic in topics { Self.write(topic, to: &writer) }
        writer.write(Int32(-1))
        return writer.finishContiguous()
    }

    private static func write(_ text: String, to writer: inout ByteWriter) {
        writer.write(Int16(text.utf8.count))
        writer.write(utf8: text)
    }

    private func sync(_ node: Int32, _ joined: JoinGroupResponse) async -> Bool {
        var request = SyncGroupRequest()
        request.groupId = group
        request.generationId = generation
        request.memberId = memberID
        if joined.leader == memberID {
            let members = joined.members.map(\.memberId).sorted()
            request.assignments = members.enumerated().map { index, member in
                var assignment = SyncGroupRequest.SyncGroupRequestAssignment()
                assignment.memberId = member
                let own = places.indices.filter { $0 % members.count == index }
                assignment.assignment = encode(own.map { places[$0] })
                return assignment
            }
        }
        guard
            let answer = await client.ask(node, request, version: 3, within: .seconds(12))
        else {
            coordinator = nil
            return false
        }
        guard answer.errorCode == 0 else {
            note(answer.errorCode)
            return false
        }
        guard let assigned = decode(answer.assignment) else {
            world.report(.wrongAnswer, "\(name): an assignment that no leader made")
            return false
        }
        world.counts.rebalances += 1
        readers = []
        own = assigned
        return true
    }

    /// What this member was assigned last.
    private var own: [TopicPartition] = []

    private func encode(_ places: [TopicPartition]) -> ByteSlice {
        var writer = ByteWriter()
        writer.write(Int16(0))
        writer.write(Int32(places.count))
        for place in places {
            Self.write(place.topic, to: &writer)
            writer.write(Int32(1))
            writer.write(place.partition)
        }
        writer.write(Int32(-1))
        return writer.finishContiguous()
    }

    private func decode(_ bytes: ByteSlice) -> [TopicPartition]? {
        if bytes.isEmpty { return [] }
        do {
            var reader = ByteReader(bytes)
            _ = try reader.readInt16()
            var found: [TopicPartition] = []
            for _ in 0..<(try reader.readInt32()) {
                let topic = try reader.readUTF8(Int(try reader.readInt16()))
                _ = try reader.readInt32()
                found.append(TopicPartition(topic: topic, partition: try reader.readInt32()))
            }
            return found.allSatisfy(places.contains) ? found : nil
        } catch {
            return nil
        }
    }

    // MARK: Committed offsets

    private func askCommitted(_ node: Int32) async -> Bool {
        guard
            let found = await CommittedOffsets.ask(
                client,
                node,
                group: group,
                own,
                process: name
            )
        else {
            coordinator = nil
            return false
        }
        for (place, offset) in found {
            readers.append(PartitionReader(name, client, of: place, from: max(0, offset)))
        }
        return true
    }

    private func commit(_ node: Int32) async -> Step {
        var topics: [OffsetCommitRequest.OffsetCommitRequestTopic] = []
        var written: [(place: TopicPartition, offset: Int64)] = []
        for reader in readers where client.generator.chance(4, in: 5) {
            var part = OffsetCommitRequest.OffsetCommitRequestPartition()
            part.partitionIndex = reader.place.partition
            part.committedOffset = reader.position
            part.committedMetadata = ""
            var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
            topic.name = reader.place.topic
            topic.partitions = [part]
            topics.append(topic)
            written.append((reader.place, reader.position))
        }
        guard !written.isEmpty else { return .stay }
        var request = OffsetCommitRequest()
        request.groupId = group
        request.generationIdOrMemberEpoch = generation
        request.memberId = memberID
        request.topics = topics
        for (place, offset) in written { record(.invoke, place, offset) }
        guard let answer = await client.ask(node, request, version: 7) else {
            for (place, offset) in written { record(.unknown, place, offset) }
            return .findCoordinator
        }
        var step = Step.stay
        let codes = answer.topics.flatMap { topic in
            topic.partitions.map { (topic.name, $0.partitionIndex, $0.errorCode) }
        }
        for (place, offset) in written {
            let code = codes.first { $0.0 == place.topic && $0.1 == place.partition }?.2
            let next = settle(code, place, offset)
            if next != .stay { step = next }
        }
        return step
    }

    private func settle(_ code: Int16?, _ place: TopicPartition, _ offset: Int64) -> Step {
        switch code.flatMap(ErrorCode.init(rawValue:)) {
        case .some(.none):
            world.counts.commits += 1
            record(.ok, place, offset)
            return .stay
        case .illegalGeneration, .unknownMemberId, .rebalanceInProgress,
            .coordinatorLoadInProgress:
            record(.fail, place, offset)
            if code == ErrorCode.unknownMemberId.rawValue { memberID = "" }
            return .join
        default:
            record(.unknown, place, offset)
            return .findCoordinator
        }
    }

    private func record(
        _ phase: HistoryEvent.Phase,
        _ place: TopicPartition,
        _ offset: Int64
    ) {
        world.record(.commit(phase, process: name, group: group, place, offset: offset))
    }

    // MARK: Working

    private func work(_ node: Int32) async {
        var step = Step.stay
        var round = 0
        while step == .stay && !world.areGroupsEnding {
            round += 1
            // While all is calm, most rounds only say that it is there.
            let isBusy = !client.isCalm || client.generator.chance(1, in: 8)
            if isBusy { for reader in readers { _ = await reader.poll(waitMilliseconds: 0) } }
            await client.rest(upTo: .milliseconds(400), atMost: sessionTimeout / 2)
            step = await heartbeat(node)
            if isBusy && step == .stay && client.generator.chance(1, in: 2) {
                step = await commit(node)
            }
            if client.generator.chance(1, in: 60) {
                await leave()
                step = .join
            }
            if client.generator.chance(1, in: 60) {
                // Long enough to be thought dead.
                await client.pause(upTo: 8 * sessionTimeout / 3)
            }
        }
        if step == .findCoordinator { coordinator = nil }
    }

    private func heartbeat(_ node: Int32) async -> Step {
        var request = HeartbeatRequest()
        request.groupId = group
        request.generationId = generation
        request.memberId = memberID
        guard let answer = await client.ask(node, request, version: 3) else {
            return .findCoordinator
        }
        note(answer.errorCode)
        switch ErrorCode(rawValue: answer.errorCode) {
        case .some(.none): return .stay
        case .rebalanceInProgress, .illegalGeneration, .unknownMemberId: return .join
        default: return .findCoordinator
        }
    }

    private func leave() async {
        guard let node = coordinator, !memberID.isEmpty else { return }
        var member = LeaveGroupRequest.MemberIdentity()
        member.memberId = memberID
        var request = LeaveGroupRequest()
        request.groupId = group
        request.members = [member]
        _ = await client.ask(node, request, version: 3, within: .seconds(2))
        memberID = ""
    }
}

/// Asks what a group has committed.
enum CommittedOffsets {
    /// The offsets, -1 where there is none; `nil` when there was no answer.
    static func ask(
        _ client: KafkaClient,
        _ node: Int32,
        group: String,
        _ places: [TopicPartition],
        process: String
    ) async -> [(TopicPartition, Int64)]? {
        if places.isEmpty { return [] }
        var request = OffsetFetchRequest()
        request.groupId = group
        request.topics = places.map { place in
            var topic = OffsetFetchRequest.OffsetFetchRequestTopic()
            topic.name = place.topic
            topic.partitionIndexes = [place.partition]
            return topic
        }
        client.world.record(.asksCommitted(process: process, group: group))
        guard let answer = await client.ask(node, request, version: 5), answer.errorCode == 0
        else { return nil }
        var found: [(TopicPartition, Int64)] = []
        for topic in answer.topics {
            for part in topic.partitions {
                guard part.errorCode == 0 else { return nil }
                let place = TopicPartition(topic: topic.name, partition: part.partitionIndex)
                found.append((place, part.committedOffset))
            }
        }
        for (place, offset) in found {
            client.world.record(
                .committed(process: process, group: group, place, offset: offset)
            )
        }
        return found
    }
}
