import Bytes
import Raft

/// What the WAL keeps of a group beside its entries, as one record's payload.
///
/// Layout, integers most significant byte first:
///
///     version u8 (2)
///     vote u64 (0: none) | commit u64
///     base index u64 | base term u64
///     last index u64 | last term u64: where the log ended when the record was written
///     abstains: reason u8 (0: it does not) | until term u64
///     where the log ended in an earlier life: term u64 | index u64
///     voters | outgoing voters | learners | learners next: each a u16 count and u64 ids
///     leaves the joint configuration by itself: u8
///
/// The term is the record header's. The last such record of a group counts.
struct GroupStateRecord: Equatable {
    private static let version: UInt8 = 2

    var hardState: HardState
    var base: SnapshotMetadata
    var last: LogIndex
    var lastTerm: Term
    var abstention: Abstention?
    var earlierEnd: LogPosition

    func encoded() -> ByteSlice {
        var writer = ByteWriter(capacity: 128)
        writer.write(Self.version)
        writer.write(hardState.vote?.rawValue ?? 0)
        writer.write(hardState.commit.rawValue)
        writer.write(base.index.rawValue)
        writer.write(base.term.rawValue)
        writer.write(last.rawValue)
        writer.write(lastTerm.rawValue)
        writer.write(abstention?.reason.rawValue ?? 0)
        writer.write(abstention?.until.rawValue ?? 0)
        writer.write(earlierEnd.term.rawValue)
        writer.write(earlierEnd.index.rawValue)
        let membership = base.membership
        for ids in [
            membership.voters, membership.outgoingVoters, membership.learners,
            membership.learnersNext,
        ] {
            writer.write(UInt16(ids.count))
            for id in ids { writer.write(id.rawValue) }
        }
        writer.write(UInt8(membership.autoLeave ? 1 : 0))
        return writer.finishContiguous()
    }

    init(
        hardState: HardState,
        base: SnapshotMetadata,
        last: LogIndex,
        lastTerm: Term,
        abstention: Abstention? = nil,
        earlierEnd: LogPosition = .zero
    ) {
        self.hardState = hardState
        self.base = base
        self.last = last
        self.lastTerm = lastTerm
        self.abstention = abstention
        self.earlierEnd = earlierEnd
    }

    init(decoding slice: ByteSlice, term: UInt64) throws(MalformedBytes) {
        var reader = ByteReader(slice)
        let version: UInt8 = try reader.read()
        guard version == Self.version else { throw .unsupportedVersion(Int16(version)) }
        let vote: UInt64 = try reader.read()
        let commit: UInt64 = try reader.read()
        let baseIndex: UInt64 = try reader.read()
        let baseTerm: UInt64 = try reader.read()
        last = LogIndex(try reader.read())
        lastTerm = Term(try reader.read())
        let reason: UInt8 = try reader.read()
        let until: UInt64 = try reader.read()
        abstention = Abstention.Reason(rawValue: reason).map {
            Abstention(until: Term(until), reason: $0)
        }
        guard reason == 0 || abstention != nil else { throw .invalidLength(Int64(reason)) }
        let earlierTerm = Term(try reader.read())
        earlierEnd = LogPosition(term: earlierTerm, index: LogIndex(try reader.read()))
        let voters = try Self.readIDs(&reader)
        let outgoing = try Self.readIDs(&reader)
        let learners = try Self.readIDs(&reader)
        let learnersNext = try Self.readIDs(&reader)
        let autoLeave: UInt8 = try reader.read()
        hardState = HardState(
            term: Term(term),
            vote: vote == 0 ? nil : ReplicaID(vote),
            commit: LogIndex(commit)
        )
        base = SnapshotMetadata(
            index: LogIndex(baseIndex),
            term: Term(baseTerm),
            membership: Membership(
                voters: voters,
                outgoingVoters: outgoing,
                learners: learners,
                learnersNext: learnersNext,
                autoLeave: autoLeave == 1
            )
        )
    }

    private static func readIDs(_ reader: inout ByteReader) throws(MalformedBytes) -> [ReplicaID] {
        let count: UInt16 = try reader.read()
        var ids: [ReplicaID] = []
        for _ in 0..<count { ids.append(ReplicaID(try reader.read())) }
        return ids
    }
}
