import Platform
import RaftRuntime

/// The first campaigns of groups that are founded here, on one loop.
///
/// A group that is made alone campaigns at once. Of those made one after another, as by an
/// application that makes its topics, what comes within the rest after a campaign goes with the
/// next: their votes share the writes of every node's log, and the next topic waits for fewer of
/// these.
final class FirstCampaigns {
    private static let rest = Int64.milliseconds(20)

    private let loop: EventLoop
    private var due: [PartitionReplica] = []
    private var isResting = false

    init(loop: EventLoop) { self.loop = loop }

    func begin(_ replica: PartitionReplica) {
        due.append(replica)
        if !isResting { campaign() }
    }

    private func campaign() {
        for replica in due { campaign(replica) }
        isResting = !due.isEmpty
        due = []
        guard isResting else { return }
        _ = loop.schedule(after: Self.rest) { [weak self] in self?.campaign() }
    }

    /// Tries again while the other founders may not have started yet; another may lead by then.
    private func campaign(_ replica: PartitionReplica, after delay: Int64 = 0) {
        guard replica.info.leader == nil else { return }
        replica.campaign(asksFirst: delay > 0)
        let next = delay == 0 ? Int64.milliseconds(10) : 2 * delay
        guard next < .milliseconds(400) else { return }
        _ = loop.schedule(after: next) { [weak self, weak replica] in
            if let replica { self?.campaign(replica, after: next) }
        }
    }
}
