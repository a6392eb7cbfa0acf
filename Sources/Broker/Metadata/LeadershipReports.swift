import ClusterMetadata
import KafkaProtocol
import Platform

/// Tells the metadata which partitions this node leads, which replicas are in sync and who belongs
/// to the groups, for those who are not of them.
///
/// One report is under way at a time, and the next begins a little later: what changes meanwhile
/// goes into it. Each is a write of the metadata, and when many topics are made there would be one
/// for every partition. What changes alone is told at once.
actor LeadershipReports {
    private static let pause = Int64.milliseconds(100)
    private static let rest = Int64.milliseconds(50)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let metadata: MetadataService
    private var due: [UInt64: PartitionLeadership] = [:]
    private var members: [UInt64: GroupMembersReport] = [:]
    private var isRunning = false

    init(loop: EventLoop, nodeID: Int32, metadata: MetadataService) {
        self.loop = loop
        self.nodeID = nodeID
        self.metadata = metadata
    }

    func take(_ findings: LeaderDuties.Findings) {
        for report in findings.leaderships { due[report.groupID] = report.leadership }
        for report in findings.members { members[report.groupID] = report }
        guard !isRunning else { return }
        isRunning = true
        Task.immediate(executorPreference: loop) { await self.run() }
    }

    private func run() async {
        while !due.isEmpty || !members.isEmpty {
            await reportLeaderships()
            await reportMembers()
            await loop.sleep(nanoseconds: Self.rest)
        }
        isRunning = false
    }

    /// What is not taken is found and reported again by whoever leads the group.
    private func reportMembers() async {
        guard !members.isEmpty else { return }
        let reports = members.values.sorted { $0.groupID < $1.groupID }
        members = [:]
        _ = try? await metadata.write(MetadataCommand(.reportMembers(reports)))
    }

    private func reportLeaderships() async {
        guard !due.isEmpty else { return }
        let reports = due.sorted { $0.key < $1.key }
            .map { GroupLeadership(groupID: $0.key, $0.value) }
        due = [:]
        let epoch = await metadata.brokerEpoch
        do {
            let answer = try await metadata.write(
                MetadataCommand(.reportLeaderships(broker: nodeID, epoch: epoch, reports))
            )
            try answer.requireDone()
        } catch {
            // Newer reports of the same groups stand.
            for report in reports where due[report.groupID] == nil {
                due[report.groupID] = report.leadership
            }
            await loop.sleep(nanoseconds: Self.pause)
        }
    }
}
