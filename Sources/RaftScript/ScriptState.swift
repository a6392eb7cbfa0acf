internal import Raft

/// A message in flight, flat, as it is printed.
struct MessageState {
    var from: UInt64 = 0
    var to: UInt64 = 0
    var term: UInt64 = 0
    var logTerm: UInt64 = 0
    var index: UInt64 = 0
    var commit: UInt64 = 0
    var type = ""
    var reject = false
    var hint: UInt64 = 0
    var entries: [RaftEntry] = []
    var snapshot: UInt64 = 0

    init(_ message: ScriptMessage) {
        from = message.to.rawValue
        to = message.to.rawValue
        term = message.term.rawValue
        switch message.content {
        case .message(let message):
            from = message.from.rawValue
            describe(message.body)
        case .ownVote(_, let isPreVote):
            type = isPreVote ? "MsgPreVoteResp" : "MsgVoteResp"
        case .ownAppend(_, let through):
            type = "MsgAppResp"
            index = through.rawValue
        case .written(_, let lastIndex, let lastTerm):
            type = "MsgStorageAppendResp"
            from = .max
            index = lastIndex.rawValue
            logTerm = lastTerm.rawValue
        case .applied(let entries):
            type = "MsgStorageApplyResp"
            from = .max - 1
            self.entries = entries
        }
    }

    private mutating func describe(_ body: Message.Body) {
        switch body {
        case .append(let append):
            type = "MsgApp"
            index = append.previousIndex.rawValue
            logTerm = append.previousTerm.rawValue
            commit = append.commit.rawValue
            entries = append.entries
        case .appendResponse(let response):
            type = "MsgAppResp"
            index = response.index.rawValue
            reject = response.rejection != nil
            hint = response.rejection?.index.rawValue ?? 0
            logTerm = response.rejection?.term.rawValue ?? 0
        case .vote(let request):
            type = "MsgVote"
            describe(request)
        case .preVote(let request):
            type = "MsgPreVote"
            describe(request)
        case .voteResponse(let granted, _):
            type = "MsgVoteResp"
            reject = !granted
        case .preVoteResponse(let granted, _):
            type = "MsgPreVoteResp"
            reject = !granted
        case .heartbeat(let heartbeat):
            type = "MsgHeartbeat"
            commit = heartbeat.commit.rawValue
        case .heartbeatResponse: type = "MsgHeartbeatResp"
        case .snapshot(let snapshot):
            type = "MsgSnap"
            self.snapshot = snapshot.metadata.index.rawValue
        case .timeoutNow: type = "MsgTimeoutNow"
        case .lostEntries: type = "MsgLostEntries"
        case .transferLeader: type = "MsgTransferLeader"
        case .readIndex: type = "MsgReadIndex"
        case .readIndexResponse(let index, _):
            type = "MsgReadIndexResp"
            self.index = index.rawValue
        case .propose(let proposals):
            type = "MsgProp"
            entries = proposals.map {
                RaftEntry(index: .zero, term: .zero, kind: $0.kind, payload: $0.payload)
            }
        }
    }

    private mutating func describe(_ request: Message.VoteRequest) {
        index = request.lastIndex.rawValue
        logTerm = request.lastTerm.rawValue
    }

    func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("From", from)
            json.field("To", to)
            json.field("Term", term)
            json.field("LogTerm", logTerm)
            json.field("Index", index)
            json.field("Commit", commit)
            json.field("Vote", 0)
            json.field("Type", type)
            json.field("Reject", reject)
            json.field("Hint", hint)
            if !entries.isEmpty {
                json.field("Ents") { $0.array(entries) { entry, json in entry.write(to: &json) } }
            }
            json.field("Snap", snapshot)
        }
    }
}

extension ScriptCluster {
    /// The whole state as one line of JSON.
    package func state(after directive: Directive, file: String) -> String {
        var json = JSONWriter()
        json.object { json in
            json.field("File", file)
            json.field("Pos", "testdata/\(file):\(directive.line)")
            json.field("Cmd", directive.command)
            json.field("Args") {
                $0.array(directive.arguments) { argument, json in json.value(argument.text) }
            }
            json.field("Input", directive.input)
            json.field("Nodes") {
                $0.array(replicas) { replica, json in replica.write(to: &json) }
            }
            json.field("Net") {
                $0.array(network) { message, json in MessageState(message).write(to: &json) }
            }
        }
        return json.text
    }
}

extension ScriptReplica {
    func write(to json: inout JSONWriter) {
        let status = node.status
        json.object { json in
            json.field("ID", status.id.rawValue)
            json.field("Role", status.role.name)
            json.field("Term", status.term.rawValue)
            json.field("Vote", status.vote?.rawValue ?? 0)
            json.field("Lead", status.leader?.rawValue ?? 0)
            json.field("Commit", status.commit.rawValue)
            json.field("Applied", status.applied.rawValue)
            json.field("First", log.firstIndex.rawValue)
            json.field("Last", log.lastIndex.rawValue)
            json.field("Stable") {
                $0.array(log.entries) { entry, json in entry.write(to: &json) }
            }
            json.field("Voters", status.membership.voters.parenthesized)
            json.field("VotersOut", status.membership.outgoingVoters.parenthesized)
            let learners = status.membership.learners.map { "\($0):{}" }
            json.field("Learners", "map[\(learners.joined(separator: " "))]")
            if status.role == .leader {
                json.field("Progress") { json in
                    json.object { json in
                        for peer in status.peers {
                            json.field("\(peer.id)") { peer.write(to: &$0) }
                        }
                    }
                }
            }
            json.field("HasReady", node.hasReady)
        }
    }
}

extension PeerStatus {
    func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("Match", match.rawValue)
            json.field("Next", next.rawValue)
            switch state {
            case .probe: json.field("State", "StateProbe")
            case .replicate: json.field("State", "StateReplicate")
            case .snapshot: json.field("State", "StateSnapshot")
            }
            json.field("Inflight", UInt64(inflightMessages))
            json.field("Paused", isPaused)
            json.field("Active", isRecentlyActive)
            if case .snapshot(let index) = state {
                json.field("Snap", index.rawValue)
            } else {
                json.field("Snap", 0)
            }
        }
    }
}

extension RaftRole {
    var name: String {
        switch self {
        case .follower: "Follower"
        case .preCandidate: "PreCandidate"
        case .candidate: "Candidate"
        case .leader: "Leader"
        }
    }
}

extension [ReplicaID] {
    var parenthesized: String { "(\(map(\.description).joined(separator: " ")))" }
}

extension RaftEntry {
    func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("i", index.rawValue)
            json.field("t", term.rawValue)
            json.field("k", kindName)
            let data = kind == .configuration ? changeBytes : payload.bytes
            if !data.isEmpty { json.field("d", data.hexadecimal) }
        }
    }

    private var change: ConfigurationChange? { try? ConfigurationChange(decoding: payload) }

    private var kindName: String {
        guard kind == .configuration else { return "EntryNormal" }
        return change?.transition == .simple ? "EntryConfChange" : "EntryConfChangeV2"
    }

    /// The change in the encoding the transcripts print: field tags and varints.
    private var changeBytes: [UInt8] {
        guard !payload.isEmpty, let change else { return [] }
        if change.transition == .simple, let step = change.steps.first {
            return [0x10, step.kind.number, 0x18] + varint(step.replica.rawValue)
        }
        var bytes: [UInt8] = [0x08, change.transition.rawValue]
        for step in change.steps {
            let inner = [0x08, step.kind.number, 0x10] + varint(step.replica.rawValue)
            bytes += [0x12, UInt8(inner.count)] + inner
        }
        return bytes
    }

    private func varint(_ value: UInt64) -> [UInt8] {
        var value = value
        var bytes: [UInt8] = []
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        return bytes + [UInt8(value)]
    }
}

extension ConfigurationChange.Step.Kind {
    var number: UInt8 {
        switch self {
        case .addVoter: 0
        case .removeReplica: 1
        case .update: 2
        case .addLearner: 3
        }
    }
}

extension [UInt8] {
    var hexadecimal: String {
        let digits = Array<Character>("0123456789abcdef")
        return String(flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
