import KafkaHistory
import KafkaMessages
import KafkaProtocol
import Platform

/// Commits rising offsets for a group without members, and asks for them again.
///
/// A commit that is lost is seen only until the next one: it asks soon, and whoever coordinates then.
final class OffsetCommitter: @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let group: String
    let place: TopicPartition
    private let client: KafkaClient
    private let pace: Int64
    private var coordinator: Int32?
    private var offset: Int64 = 0
    private(set) var hasEnded = false

    private var world: ClusterWorld { client.world }

    init(_ number: Int, in world: ClusterWorld) {
        group = "s\(number)"
        client = KafkaClient("committer\(number)", in: world)
        place = world.places[client.generator.below(world.places.count)]
        pace = .milliseconds([50, 400, 2_000][client.generator.below(3)])
    }

    func run() async {
        while !world.areGroupsEnding {
            await client.rest(upTo: pace)
            guard let node = await findCoordinator() else { continue }
            let isAcknowledged = await commit(node)
            // What nobody has acknowledged is not missed, and the next commit would hide it.
            if isAcknowledged && client.generator.chance(2, in: 3) { continue }
            await ask()
        }
        hasEnded = true
    }

    private func findCoordinator() async -> Int32? {
        if let coordinator { return coordinator }
        var request = FindCoordinatorRequest()
        request.key = group
        guard
            let answer = await client.ask(
                client.anyNode,
                request,
                version: 2,
                within: .seconds(2)
            ), answer.errorCode == 0, answer.nodeId >= 0
        else { return nil }
        coordinator = answer.nodeId
        return coordinator
    }

    private func commit(_ node: Int32) async -> Bool {
        offset += 1
        var part = OffsetCommitRequest.OffsetCommitRequestPartition()
        part.partitionIndex = place.partition
        part.committedOffset = offset
        part.committedMetadata = ""
        var topic = OffsetCommitRequest.OffsetCommitRequestTopic()
        topic.name = place.topic
        topic.partitions = [part]
        var request = OffsetCommitRequest()
        request.groupId = group
        request.generationIdOrMemberEpoch = -1
        request.memberId = ""
        request.topics = [topic]
        record(.invoke)
        let answer = await client.ask(node, request, version: 7)
        guard answer?.topics.first?.partitions.first?.errorCode == 0 else {
            record(.unknown)
            coordinator = nil
            return false
        }
        world.counts.commits += 1
        record(.ok)
        return true
    }

    /// Until somebody has answered.
    private func ask() async {
        while !world.areGroupsEnding {
            if let node = await findCoordinator(),
                await CommittedOffsets.ask(
                    client,
                    node,
                    group: group,
                    [place],
                    process: client.name
                ) != nil
            {
                return
            }
            coordinator = nil
            await client.pause(upTo: .milliseconds(300))
        }
    }

    private func record(_ phase: HistoryEvent.Phase) {
        world.record(
            .commit(phase, process: client.name, group: group, place, offset: offset)
        )
    }
}
