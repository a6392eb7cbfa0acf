internal import Bytes
internal import Raft

/// Reads the fields of a body; nothing a peer sends can trap.
struct BodyReader {
    private let slice: ByteSlice
    private var offset = 0

    init(_ slice: ByteSlice) { self.slice = slice }

    var remaining: Int { slice.count - offset }

    mutating func byte() throws(FrameError) -> UInt8 {
        guard offset < slice.count, let start = slice.start else {
            throw .malformed(.truncated(needed: 1, available: 0))
        }
        defer { offset += 1 }
        return start.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// A base-128 number, low groups first.
    mutating func number() throws(FrameError) -> UInt64 {
        let first = try byte()
        if first < 0x80 { return UInt64(first) }
        var value = UInt64(first & 0x7f)
        var shift: UInt64 = 7
        while true {
            let next = try byte()
            if shift == 63 && next > 1 { throw .malformed(.overlongVarint) }
            value |= UInt64(next & 0x7f) << shift
            if next < 0x80 { return value }
            shift += 7
        }
    }

    /// The difference to a base, as ``BodyWriter`` writes it.
    mutating func number(near base: UInt64) throws(FrameError) -> UInt64 {
        let raw = try number()
        return base &+ ((raw >> 1) ^ (0 &- (raw & 1)))
    }

    /// How many things follow, each of which takes at least `size` bytes.
    mutating func count(ofSize size: Int) throws(FrameError) -> Int {
        let count = try number()
        guard count <= UInt64(remaining / size) else {
            throw .malformed(.invalidLength(Int64(clamping: count)))
        }
        return Int(count)
    }

    mutating func bytes(_ count: Int) throws(FrameError) -> ByteSlice {
        guard count >= 0 && count <= remaining else {
            throw .malformed(.truncated(needed: count, available: remaining))
        }
        defer { offset += count }
        return slice[offset..<offset + count]
    }

    mutating func rest() -> ByteSlice {
        defer { offset = slice.count }
        return slice[offset..<slice.count]
    }

    /// A length, then as many bytes, which stay where they are.
    mutating func payload() throws(FrameError) -> RaftPayload {
        let found = try bytes(try count(ofSize: 1))
        return RaftPayload(owner: found.owner, start: found.start, count: found.count)
    }

    func end() throws(FrameError) {
        if remaining > 0 { throw .malformed(.trailingBytes(remaining)) }
    }
}

extension ByteWriter {
    /// A base-128 number, low groups first.
    mutating func write(number: UInt64) { writeUnsignedVarlong(number) }

    /// The difference to a base, small when the two are near, zigzag in base 128.
    mutating func write(number: UInt64, near base: UInt64) {
        let difference = Int64(bitPattern: number &- base)
        writeUnsignedVarlong(UInt64(bitPattern: (difference << 1) ^ (difference >> 63)))
    }

    /// A length, then as many bytes; large ones are not copied.
    mutating func write(_ payload: RaftPayload) {
        write(number: UInt64(payload.count))
        write(ByteSlice(owner: payload.owner, start: payload.start, count: payload.count))
    }
}
