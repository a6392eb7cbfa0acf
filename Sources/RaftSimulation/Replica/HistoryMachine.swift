internal import Raft

/// A state machine that is the history of what it applied, as a running hash.
struct HistoryMachine: Equatable {
    var index = LogIndex.zero
    var term = Term.zero
    var hash: UInt64 = 0
    var membership = Membership()

    init() {}

    init(_ snapshot: Snapshot) {
        index = snapshot.metadata.index
        term = snapshot.metadata.term
        membership = snapshot.metadata.membership
        hash = UInt64(leadingBytes: snapshot.payload)
    }

    var snapshot: Snapshot {
        let metadata = SnapshotMetadata(index: index, term: term, membership: membership)
        return Snapshot(metadata: metadata, payload: RaftPayload(copying: hash.bigEndianBytes))
    }

    mutating func apply(_ entry: RaftEntry, hash entryHash: UInt64) {
        index = entry.index
        term = entry.term
        hash = (hash ^ entryHash) &* 0x9E37_79B9_7F4A_7C15
        hash ^= hash >> 29
        if entry.kind == .configuration,
            let change = try? ConfigurationChange(decoding: entry.payload),
            let next = try? membership.applying(change)
        {
            membership = next
        }
    }
}

extension RaftEntry {
    /// Says everything about the entry.
    var contentHash: UInt64 {
        var hash = index.rawValue &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ term.rawValue) &* 0xBF58_476D_1CE4_E5B9
        hash = (hash ^ UInt64(kind.rawValue) ^ UInt64(payload.count)) &* 0x94D0_49BB_1331_11EB
        payload.withUnsafeBytes { bytes in
            for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        }
        return hash ^ (hash >> 31)
    }
}

extension UInt64 {
    /// The number in the first eight bytes, or in as many as there are.
    init(leadingBytes payload: RaftPayload) {
        self = payload.withUnsafeBytes { $0.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
    }

    var bigEndianBytes: [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: self >> UInt64($0)) }
    }
}
