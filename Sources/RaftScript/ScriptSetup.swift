internal import Raft

extension ScriptCluster {
    /// `add-nodes N …`: replicas that start from a snapshot at `index`, or empty.
    mutating func addReplicas(_ directive: Directive) throws(ScriptError) {
        guard let count = directive.words.first.flatMap({ Int($0) }), count > 0, count < 1000 else {
            throw ScriptError(line: directive.line, reason: "how many replicas?")
        }
        var metadata: SnapshotMetadata?
        if let index = directive.values("index")?.first.flatMap({ UInt64($0) }), index > 0 {
            let membership = Membership(
                voters: try ids(directive, "voters"),
                learners: try ids(directive, "learners")
            )
            metadata = SnapshotMetadata(
                index: LogIndex(index),
                term: Term(1),
                membership: membership
            )
        }
        for _ in 0..<count { try addReplica(directive, startingFrom: metadata) }
    }

    private func ids(_ directive: Directive, _ key: String) throws(ScriptError) -> [ReplicaID] {
        var ids: [ReplicaID] = []
        for word in directive.values(key) ?? [] {
            guard let id = UInt64(word), id > 0 else {
                throw ScriptError(line: directive.line, reason: "\(key) names \(word)")
            }
            ids.append(ReplicaID(id))
        }
        return ids
    }

    private mutating func addReplica(
        _ directive: Directive,
        startingFrom metadata: SnapshotMetadata?
    ) throws(ScriptError) {
        let log = ScriptLog()
        if let metadata { log.install(Snapshot(metadata: metadata, payload: .empty)) }
        let configuration = try configuration(directive, id: UInt64(replicas.count + 1))
        do throws(RaftConfigurationError) {
            let node = try RaftNode(
                configuration: configuration,
                log: log,
                hardState: HardState(commit: metadata?.index ?? .zero),
                membership: metadata?.membership ?? Membership(),
                applied: metadata?.index ?? .zero
            )
            var replica = ScriptReplica(
                node: node,
                log: log,
                isAsynchronous: isSet(directive, "async-storage-writes")
            )
            if let metadata { replica.start(from: metadata) }
            replicas.append(replica)
        } catch {
            throw ScriptError(line: directive.line, reason: "\(error)")
        }
    }

    private func isSet(_ directive: Directive, _ key: String) -> Bool {
        directive.values(key).map { $0.first != "false" } ?? false
    }

    /// The plain algorithm unless the script says more: every proposal is sent at once and by
    /// itself, and nothing is limited.
    private func configuration(
        _ directive: Directive,
        id: UInt64
    ) throws(ScriptError) -> RaftNode.Configuration {
        var configuration = RaftNode.Configuration(id: ReplicaID(id), randomSeed: id)
        configuration.electionTicks = Self.electionTicks
        configuration.heartbeatTicks = Self.heartbeatTicks
        configuration.batchesAppends = false
        configuration.disableProposalForwarding = false
        configuration.appliesWithinReady = !isSet(directive, "async-storage-writes")
        configuration.maxInflightMessages = Int(Int32.max)
        configuration.maxInflightBytes = .max
        configuration.maxMessageBytes = .max
        configuration.maxCommittedBytesPerReady = .max
        configuration.maxUncommittedBytes = .max
        configuration.preVote = isSet(directive, "prevote")
        configuration.checkQuorum = isSet(directive, "checkquorum")
        configuration.stepDownOnRemoval = isSet(directive, "step-down-on-removal")
        configuration.disableChangeValidation = isSet(directive, "disable-conf-change-validation")
        if directive.values("read-only")?.first == "lease-based" { configuration.readMode = .lease }
        if let inflight = try number(directive, "inflight") {
            configuration.maxInflightMessages = inflight
        }
        if let bytes = try number(directive, "max-committed-size-per-ready") {
            configuration.maxCommittedBytesPerReady = bytes
        }
        return configuration
    }

    private func number(_ directive: Directive, _ key: String) throws(ScriptError) -> Int? {
        guard let value = directive.values(key)?.first else { return nil }
        guard let number = Int(value), number > 0 else {
            throw ScriptError(line: directive.line, reason: "\(key) is \(value)")
        }
        return number
    }
}
