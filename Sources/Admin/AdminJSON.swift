import Platform

/// How the values of ``AdminView`` look as JSON.
extension ClusterMembers {
    var json: JSONValue {
        .object([
            "cluster_id": .string(clusterID), "node_id": .integer(nodeID),
            "metadata_leader": .optional(metadataLeader),
            "members": .array(members.map(\.json)),
        ])
    }
}

extension ClusterMembers.Member {
    var json: JSONValue {
        .object([
            "id": .integer(id), "kafka_address": .optional(kafkaAddress),
            "raft_address": .optional(raftAddress), "rack": .optional(rack),
            "registered": .bool(isRegistered), "fenced": .bool(isFenced),
            "stopping": .bool(isStopping), "alive": .bool(isAlive),
        ])
    }
}

extension PartitionStatus {
    var json: JSONValue {
        .object([
            "topic": .string(topic), "partition": .integer(partition), "leader": .optional(leader),
            "leader_epoch": .integer(leaderEpoch),
            "replicas": .array(replicas.map { .integer($0) }),
            "in_sync_replicas": .array(inSyncReplicas.map { .integer($0) }),
            "log_start_offset": .optional(logStartOffset),
            "high_watermark": .optional(highWatermark),
        ])
    }
}

extension ClusterHealth {
    /// Problems written out; the counts tell of all.
    private static let shown = 100

    var json: JSONValue {
        var counts: [(name: String, value: Int)] = [
            "leaderless", "under_replicated", "node_down", "disk_full", "other",
        ].map { ($0, 0) }
        for problem in problems {
            if let index = counts.firstIndex(where: { $0.name == problem.kind }) {
                counts[index].value += 1
            }
        }
        return .object([
            "healthy": .bool(isHealthy),
            "counts": .object(counts.map { ($0.name, .integer($0.value)) }),
            "reasons": .array(problems.prefix(Self.shown).map(\.json)),
        ])
    }
}

extension ClusterHealth.Problem {
    var kind: String {
        switch self {
        case .leaderless: "leaderless"
        case .underReplicated: "under_replicated"
        case .nodeDown: "node_down"
        case .diskFull: "disk_full"
        case .other: "other"
        }
    }

    var json: JSONValue {
        var members: [(name: String, value: JSONValue)] = [("kind", .string(kind))]
        switch self {
        case .leaderless(let topic, let partition):
            members += [("topic", .string(topic)), ("partition", .integer(partition))]
        case .underReplicated(let topic, let partition, let missing):
            members += [
                ("topic", .string(topic)), ("partition", .integer(partition)),
                ("missing", .array(missing.map { .integer($0) })),
            ]
        case .nodeDown(let node), .diskFull(let node): members += [("node", .integer(node))]
        case .other: break
        }
        members.append(("message", .string(message)))
        return .object(members)
    }

    private var message: String {
        switch self {
        case .leaderless(let topic, let partition): "\(topic)-\(partition) has no leader"
        case .underReplicated(let topic, let partition, let missing):
            "\(topic)-\(partition) is not in sync on "
                + missing.map { "node \($0)" }.joined(separator: ", ")
        case .nodeDown(let node): "node \(node) is down"
        case .diskFull(let node): "the disk of node \(node) is full"
        case .other(let text): text
        }
    }
}

extension LeadershipTransfer {
    func response(topic: String, partition: Int32, to node: Int32) -> AdminResponse {
        let name = "\(topic)-\(partition)"
        switch self {
        case .transferred, .alreadyLeader:
            return .json(
                .object([
                    "topic": .string(topic), "partition": .integer(partition),
                    "leader": .integer(node), "changed": .bool(self == .transferred),
                ])
            )
        case .unknownPartition: return .error(404, "there is no partition \(name)")
        case .notAReplica(let replicas):
            let nodes = replicas.map { "\($0)" }.joined(separator: ", ")
            return .error(409, "node \(node) has no replica of \(name); expected one of \(nodes)")
        case .leaderless: return .error(503, "\(name) has no leader that could hand over")
        case .targetUnavailable(let reason): return .error(409, reason)
        case .busy: return .error(409, "another change of \(name) is under way")
        case .timedOut: return .error(504, "node \(node) did not take over in time")
        case .failed(let reason): return .error(500, reason)
        }
    }
}
