import KafkaProtocol

/// Chooses the brokers of new partitions.
///
/// Evenly within the topic first, so that a broker that has just joined does not get all of a new
/// topic, then evenly over the cluster; replicas in as many racks as there are. Equal choices are
/// made by the seed, differently for every partition, so that what a broker that fails has led is
/// taken over by many.
package struct ReplicaPlacement {
    private struct Candidate {
        let id: Int32
        let rack: String?
        let isUsable: Bool
        /// In the whole cluster.
        var load: MetadataImage.BrokerLoad
        /// In the topic.
        var share = MetadataImage.BrokerLoad()
    }

    private var candidates: [Candidate]
    private let seed: UInt64
    private let replicationFactor: Int

    /// Begins beside the partitions a topic has already.
    ///
    /// `nodeID` is the broker of a cluster in which none has registered yet.
    package init(
        of replicationFactor: Int,
        beside topic: PartitionList,
        in image: MetadataImage,
        nodeID: Int32,
        seed: UInt64
    ) throws(MetadataProblem) {
        self.seed = seed
        self.replicationFactor = replicationFactor
        candidates = image.brokers.map { broker in
            Candidate(
                id: broker.id,
                rack: broker.rack,
                isUsable: broker.isUsable,
                load: image.loads[broker.id] ?? .init()
            )
        }
        if candidates.isEmpty {
            candidates = [Candidate(id: nodeID, rack: nil, isUsable: true, load: .init())]
        }
        guard replicationFactor >= 1, replicationFactor <= candidates.count else {
            throw .init(
                .invalidReplicationFactor,
                "replication factor \(replicationFactor), but"
                    + " \(candidates.count == 1 ? "there is one broker" : "there are \(candidates.count) brokers")"
            )
        }
        // A group begins with a majority, or it begins not at all; those away come when they can.
        let usable = candidates.count { $0.isUsable }
        guard usable > replicationFactor / 2 else {
            throw .init(
                .brokerNotAvailable,
                "\(usable) of \(candidates.count) brokers are up;"
                    + " replication factor \(replicationFactor) takes \(replicationFactor / 2 + 1)"
            )
        }
        for partition in topic {
            for (place, replica) in partition.replicas.enumerated() {
                guard let index = candidates.firstIndex(where: { $0.id == replica }) else {
                    continue
                }
                candidates[index].share.replicas += 1
                if place == 0 { candidates[index].share.preferred += 1 }
            }
        }
    }

    /// The replicas of one more partition, the preferred leader first.
    package mutating func next(index: Int32) -> [Int32] {
        var chosen: [Int] = []
        for _ in 0..<replicationFactor {
            guard let best = best(beside: chosen, index: index) else {
                preconditionFailure("\(replicationFactor) replicas on \(candidates.count) brokers")
            }
            chosen.append(best)
        }
        for (place, index) in chosen.enumerated() {
            candidates[index].share.replicas += 1
            candidates[index].load.replicas += 1
            if place > 0 { continue }
            candidates[index].share.preferred += 1
            candidates[index].load.preferred += 1
        }
        return chosen.map { candidates[$0].id }
    }

    private func best(beside chosen: [Int], index: Int32) -> Int? {
        var best: (place: Int, cost: Cost)?
        for place in candidates.indices where !chosen.contains(place) {
            let cost = cost(of: candidates[place], beside: chosen, index: index)
            if best.map({ cost < $0.cost }) ?? true { best = (place, cost) }
        }
        return best?.place
    }

    /// Compared field by field, the first that differs deciding.
    private struct Cost: Comparable {
        let isAway: Int
        let sameRack: Int
        let topic: Int
        let topicReplicas: Int
        let cluster: Int
        let clusterReplicas: Int
        let lot: UInt64

        static func < (left: Cost, right: Cost) -> Bool {
            if left.isAway != right.isAway { return left.isAway < right.isAway }
            if left.sameRack != right.sameRack { return left.sameRack < right.sameRack }
            if left.topic != right.topic { return left.topic < right.topic }
            if left.topicReplicas != right.topicReplicas {
                return left.topicReplicas < right.topicReplicas
            }
            if left.cluster != right.cluster { return left.cluster < right.cluster }
            if left.clusterReplicas != right.clusterReplicas {
                return left.clusterReplicas < right.clusterReplicas
            }
            return left.lot < right.lot
        }
    }

    private func cost(of candidate: Candidate, beside chosen: [Int], index: Int32) -> Cost {
        let leads = chosen.isEmpty
        return Cost(
            isAway: candidate.isUsable ? 0 : 1,
            sameRack: candidate.rack.map { rack in chosen.count { candidates[$0].rack == rack } }
                ?? 0,
            topic: leads ? candidate.share.preferred : candidate.share.replicas,
            topicReplicas: leads ? candidate.share.replicas : 0,
            cluster: leads ? candidate.load.preferred : candidate.load.replicas,
            clusterReplicas: leads ? candidate.load.replicas : 0,
            lot: mixed(seed, UInt64(UInt32(bitPattern: index)), UInt64(candidate.id.magnitude))
        )
    }

    /// The finalizer of SplitMix64 over the three.
    private func mixed(_ seed: UInt64, _ index: UInt64, _ broker: UInt64) -> UInt64 {
        var bits = seed &+ index &* 0x9e37_79b9_7f4a_7c15 &+ broker &* 0xd1b5_4a32_d192_ed03
        bits = (bits ^ bits >> 30) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ bits >> 27) &* 0x94d0_49bb_1331_11eb
        return bits ^ bits >> 31
    }
}
