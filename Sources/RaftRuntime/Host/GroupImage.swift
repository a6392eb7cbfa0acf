import Bytes
import Platform
import Raft

/// A state machine's state as of one entry, in a file: what a group goes on from when the log
/// before it is gone.
///
/// Layout, integers most significant byte first:
///
///     "RAFTIMG1" | header length u32 | header | content length u64 | content | CRC-32C u32
///
/// The header is a ``GroupStateRecord`` of which only the base counts. The checksum covers all
/// before it.
struct GroupImage {
    private static let magic: [UInt8] = Array("RAFTIMG1".utf8)
    static let maxBytes = 1 << 40

    var metadata: SnapshotMetadata
    var content: ByteSlice

    func encoded() -> ByteSlice {
        let header = GroupStateRecord(
            hardState: HardState(),
            base: metadata,
            last: metadata.index,
            lastTerm: metadata.term
        ).encoded()
        var bytes: [UInt8] = []
        bytes.reserveCapacity(header.count + content.count + 24)
        bytes += Self.magic
        Self.append(UInt32(header.count), to: &bytes)
        bytes += header.array
        Self.append(UInt64(content.count), to: &bytes)
        content.withUnsafeBytes { bytes += $0 }
        Self.append(bytes.withUnsafeBytes { CRC32C.checksum($0) }, to: &bytes)
        return ByteSlice(bytes)
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes += $0 }
    }

    init(metadata: SnapshotMetadata, content: ByteSlice) {
        self.metadata = metadata
        self.content = content
    }

    init(decoding bytes: ByteSlice) throws(MalformedBytes) {
        let end = bytes.count - 4
        guard end >= 24, bytes.prefix(8).array == Self.magic else {
            throw .invalidLength(Int64(bytes.count))
        }
        var checksum = ByteReader(bytes[end..<bytes.count])
        let expected: UInt32 = try checksum.read()
        let actual = bytes.prefix(end).withUnsafeBytes { CRC32C.checksum($0) }
        guard expected == actual else { throw .invalidLength(Int64(actual)) }
        var reader = ByteReader(bytes[8..<end])
        let headerLength = Int(try reader.read(UInt32.self))
        guard headerLength <= end - 20 else { throw .invalidLength(Int64(headerLength)) }
        let header = try GroupStateRecord(decoding: bytes[12..<12 + headerLength], term: 0)
        let start = 12 + headerLength + 8
        var length = ByteReader(bytes[start - 8..<start])
        let count: UInt64 = try length.read()
        guard count == UInt64(end - start) else {
            throw .invalidLength(Int64(truncatingIfNeeded: count))
        }
        metadata = header.base
        content = bytes[start..<end]
    }
}

extension GroupImage {
    /// Makes it the state of a machine, and makes sure that the machine agrees.
    func bringBack(_ machine: some StateMachine) throws {
        try machine.restore(content, lastIndex: metadata.index, lastTerm: metadata.term)
        guard machine.lastApplied == metadata.index else {
            throw RestoredElsewhere(wanted: metadata.index, found: machine.lastApplied)
        }
    }
}

/// The state machine breaks its contract: `lastApplied` is not the snapshot's index.
struct RestoredElsewhere: Error, CustomStringConvertible {
    let wanted: LogIndex
    let found: LogIndex

    var description: String { "the state machine was restored to \(wanted) and is at \(found)" }
}
