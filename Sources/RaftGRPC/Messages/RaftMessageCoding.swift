import Bytes
package import Raft
import RaftRuntime

// The Raft core's own types, as the messages of the same names.

extension RaftEntry: ProtobufMessage {
    /// Where it stands the `Append` around it says.
    init() { self.init(index: .zero, term: .zero, payload: .empty) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, term.rawValue)
        sink.field(2, UInt64(kind.rawValue))
        sink.field(3, ByteSlice(payload))
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&term.rawValue)
        case 2: try field.read(&kind)
        case 3: field.read(&payload)
        default: break
        }
    }
}

extension Message.Proposal: ProtobufMessage {
    init() { self.init(payload: .empty) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, UInt64(kind.rawValue))
        sink.field(2, ByteSlice(payload))
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: try field.read(&kind)
        case 2: field.read(&payload)
        default: break
        }
    }
}

extension ProtobufField {
    fileprivate func read(_ kind: inout RaftEntry.Kind) throws(ProtobufError) {
        var number: UInt64 = UInt64(kind.rawValue)
        read(&number)
        guard let known = UInt8(exactly: number).flatMap(RaftEntry.Kind.init(rawValue:)) else {
            throw .invalid("an entry of kind \(number)")
        }
        kind = known
    }

    fileprivate func read(_ payload: inout RaftPayload) {
        if case .bytes(let bytes) = value { payload = RaftPayload(bytes) }
    }

    fileprivate func append(
        to replicas: inout [ReplicaID],
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        var numbers: [UInt64] = []
        try append(to: &numbers, &budget)
        replicas += numbers.map { ReplicaID($0) }
    }
}

extension Message.Append: ProtobufMessage {
    init() {
        self.init(previousIndex: .zero, previousTerm: .zero, entries: [], commit: .zero)
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, previousIndex.rawValue)
        sink.field(2, previousTerm.rawValue)
        sink.field(3, entries)
        sink.field(4, commit.rawValue)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&previousIndex.rawValue)
        case 2: field.read(&previousTerm.rawValue)
        case 3: try field.append(to: &entries, &budget)
        case 4: field.read(&commit.rawValue)
        default: break
        }
    }

    /// Gives the entries their places; call once all fields are there.
    mutating func numberEntries() {
        var index = previousIndex.rawValue
        for place in entries.indices {
            // From outside, and perhaps nonsense: the core refuses it.
            index &+= 1
            entries[place].index = LogIndex(index)
        }
    }
}

extension Message.AppendResponse: ProtobufMessage {
    init() { self.init(index: .zero) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index.rawValue)
        sink.field(2, rejection)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index.rawValue)
        case 2: try field.read(&rejection, &budget)
        default: break
        }
    }
}

extension Message.Rejection: ProtobufMessage {
    init() { self.init(index: .zero, term: .zero) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index.rawValue)
        sink.field(2, term.rawValue)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index.rawValue)
        case 2: field.read(&term.rawValue)
        default: break
        }
    }
}

extension Message.CommitPoint: ProtobufMessage {
    init() { self.init(index: .zero, term: .zero) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, index.rawValue)
        sink.field(2, term.rawValue)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&index.rawValue)
        case 2: field.read(&term.rawValue)
        default: break
        }
    }
}

extension Message.VoteRequest: ProtobufMessage {
    init() { self.init(lastIndex: .zero, lastTerm: .zero) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, lastIndex.rawValue)
        sink.field(2, lastTerm.rawValue)
        sink.field(3, isTransfer)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&lastIndex.rawValue)
        case 2: field.read(&lastTerm.rawValue)
        case 3: field.read(&isTransfer)
        default: break
        }
    }
}

/// The answer to a request for a vote; `Message.Body` has its parts.
package struct VoteAnswer: ProtobufMessage, Equatable, Sendable {
    package var granted: Bool
    package var commit: Message.CommitPoint?

    package init(granted: Bool, commit: Message.CommitPoint? = nil) {
        self.granted = granted
        self.commit = commit
    }

    init() { self.init(granted: false) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, granted)
        sink.field(2, commit)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&granted)
        case 2: try field.read(&commit, &budget)
        default: break
        }
    }
}

extension Message.Heartbeat: ProtobufMessage {
    init() { self.init(commit: .zero) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, commit.rawValue)
        sink.field(2, round)
        sink.field(3, quiesce)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&commit.rawValue)
        case 2: field.read(&round)
        case 3: field.read(&quiesce)
        default: break
        }
    }
}

extension Membership: ProtobufMessage {
    init() { self.init(voters: []) }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, voters.map(\.rawValue))
        sink.field(2, outgoingVoters.map(\.rawValue))
        sink.field(3, learners.map(\.rawValue))
        sink.field(4, learnersNext.map(\.rawValue))
        sink.field(5, autoLeave)
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        var sets = [voters, outgoingVoters, learners, learnersNext]
        var leaves = autoLeave
        switch field.number {
        case 1...4: try field.append(to: &sets[Int(field.number) - 1], &budget)
        case 5: field.read(&leaves)
        default: return
        }
        self = Membership(
            voters: sets[0],
            outgoingVoters: sets[1],
            learners: sets[2],
            learnersNext: sets[3],
            autoLeave: leaves
        )
    }
}

extension Snapshot: ProtobufMessage {
    init() {
        self.init(
            metadata: SnapshotMetadata(index: .zero, term: .zero, membership: Membership()),
            payload: .empty
        )
    }

    func encode<Sink: ProtobufSink & ~Copyable>(to sink: inout Sink) {
        sink.field(1, metadata.index.rawValue)
        sink.field(2, metadata.term.rawValue)
        sink.field(3, metadata.membership)
        sink.field(4, ByteSlice(payload))
    }

    mutating func decode(
        _ field: ProtobufField,
        _ budget: inout ProtobufBudget
    ) throws(ProtobufError) {
        switch field.number {
        case 1: field.read(&metadata.index.rawValue)
        case 2: field.read(&metadata.term.rawValue)
        case 3: try field.read(&metadata.membership, &budget)
        case 4: field.read(&payload)
        default: break
        }
    }
}
