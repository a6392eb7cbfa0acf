import ClusterMetadata
import Platform
import Raft
import RaftRuntime

/// What a node of several does so that the cluster's groups are where the metadata wants them and
/// led evenly: its duties on each loop, and what they report.
final class ClusterDuties: Sendable {
    /// How long a planned stop waits for others to take over.
    private static let patience = Int64.seconds(4)
    private static let metadataPatience = Int64.seconds(1)
    /// How long clients are told of the new leaders before connections are closed.
    private static let farewell = Int64.milliseconds(200)

    private let nodeID: Int32
    private let loop: EventLoop
    private let metadata: MetadataService
    private let published: PublishedImage
    private let duties: [LeaderDuties]
    private let balance: LeadershipBalance
    private let log = Logger("cluster")

    init(
        loop: EventLoop,
        nodeID: Int32,
        shards: [PartitionShard],
        metadata: MetadataService,
        published: PublishedImage
    ) {
        self.loop = loop
        self.nodeID = nodeID
        self.metadata = metadata
        self.published = published
        let reports = LeadershipReports(loop: loop, nodeID: nodeID, metadata: metadata)
        let duties = shards.map { shard in
            LeaderDuties(shard: shard, nodeID: nodeID, published: published) { findings in
                loop.execute {
                    Task.immediate(executorPreference: loop) { await reports.take(findings) }
                }
            }
        }
        self.duties = duties
        balance = LeadershipBalance(loop: loop, nodeID: nodeID, published: published) { wanted in
            await duties[Placement.loop(of: wanted.groupID, of: duties.count)]
                .transfer(wanted.groupID, to: wanted.to)
        }
    }

    private func duties(of groupID: UInt64) -> LeaderDuties {
        duties[Placement.loop(of: groupID, of: duties.count)]
    }

    /// Takes up what this node leads, and from now on what it begins to lead.
    func begin(_ leaders: LeaderTable) async {
        let duties = duties
        for place in duties { await place.follow() }
        leaders.observe(
            LeaderTable.Observer { leading in
                let place = duties[Placement.loop(of: leading.groupID, of: duties.count)]
                place.loop.execute {
                    Task.immediate(executorPreference: place.loop) {
                        await place.leads(leading.groupID)
                    }
                }
            }
        )
        await balance.begin()
    }

    /// Takes up what has changed in the metadata.
    func changed(_ delta: MetadataDelta) async {
        await balance.changed(delta)
        for placed in delta.reassigned(on: nodeID) {
            await duties(of: placed.partition.groupID).assignmentChanged(placed.partition.groupID)
        }
    }

    // MARK: A planned stop

    /// Tells the cluster that this node stops, and hands over what it leads, the metadata last;
    /// returns once others lead, or when the time for that is over.
    func leave() async {
        await balance.end()
        let began = loop.clock.monotonicNanoseconds
        await metadata.leave(within: Self.metadataPatience)
        let left = await handOver(metadata: false, until: began + Self.patience)
        let moved = await handOver(
            metadata: true,
            until: loop.clock.monotonicNanoseconds + Self.metadataPatience
        )
        let took = (loop.clock.monotonicNanoseconds - began) / 1_000_000
        if left + moved > 0 {
            log.warning(
                "leaderships were not taken over in time; others will be elected",
                ["left": "\(left + moved)", "milliseconds": "\(took)"]
            )
        } else {
            log.info("leaderships are handed over", ["milliseconds": "\(took)"])
        }
        await loop.sleep(nanoseconds: Self.farewell)
    }

    private func handOver(metadata: Bool, until deadline: Int64) async -> Int {
        var counts: [Int32: Int] = [:]
        for topic in published.current.sortedTopics {
            for partition in topic.partitions {
                counts[partition.leadership.leader, default: 0] += 1
            }
        }
        while true {
            var left = 0
            for place in duties {
                let round = await place.handOver(metadata: metadata, counts)
                left += round.left
                counts = round.counts
            }
            guard left > 0, loop.clock.monotonicNanoseconds < deadline else { return left }
            await loop.sleep(nanoseconds: .milliseconds(10))
        }
    }
}
