import ClusterMetadata
import KafkaProtocol
import Platform

/// Tells the metadata which partitions this node leads, for those who are not of their groups.
///
/// One report is under way at a time; what changes meanwhile goes into the next. A cluster of one
/// has nobody to tell.
actor LeadershipReports {
    private static let pause = Int64.milliseconds(100)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let metadata: MetadataService
    private var due: [UInt64: PartitionLeadership] = [:]
    private var isRunning = false

    init(loop: EventLoop, nodeID: Int32, metadata: MetadataService) {
        self.loop = loop
        self.nodeID = nodeID
        self.metadata = metadata
    }

    /// This node has begun to lead a group.
    func leads(_ leading: LeaderTable.Leading) {
        guard leading.groupID != MetadataService.groupID else { return }
        due[leading.groupID] = PartitionLeadership(
            leader: nodeID,
            epoch: leading.epoch,
            inSync: leading.voters
        )
        guard !isRunning else { return }
        isRunning = true
        Task.immediate(executorPreference: loop) { await self.run() }
    }

    private func run() async {
        while !due.isEmpty {
            let reports = due.sorted { $0.key < $1.key }
                .map { GroupLeadership(groupID: $0.key, $0.value) }
            due = [:]
            let epoch = await metadata.epoch
            do {
                let answer = try await metadata.write(
                    MetadataCommand(
                        .reportLeaderships(broker: nodeID, epoch: epoch, reports)
                    )
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
        isRunning = false
    }
}
