public import Bytes
public import Raft

/// A map from keys to values: the smallest useful state machine.
///
/// An entry is a command: `set`, a u32 key length, the key and the value; or `delete` and the key.
/// Applying one returns the value the key had before.
public final class MemoryStateMachine: StateMachine {
    public enum Command: Equatable {
        case set(key: String, value: String)
        case delete(key: String)

        public var encoded: ByteSlice {
            var writer = ByteWriter()
            switch self {
            case .set(let key, let value):
                writer.write(UInt8(1))
                writer.write(UInt32(key.utf8.count))
                writer.write(utf8: key)
                writer.write(utf8: value)
            case .delete(let key):
                writer.write(UInt8(2))
                writer.write(UInt32(key.utf8.count))
                writer.write(utf8: key)
            }
            return writer.finishContiguous()
        }

        public init(decoding bytes: ByteSlice) throws(MalformedBytes) {
            var reader = ByteReader(bytes)
            let kind: UInt8 = try reader.read()
            let length: UInt32 = try reader.read()
            let key = try reader.readUTF8(Int(length))
            switch kind {
            case 1: self = .set(key: key, value: try reader.readUTF8(reader.remaining))
            case 2 where reader.remaining == 0: self = .delete(key: key)
            default: throw .invalidLength(Int64(kind))
            }
        }
    }

    public private(set) var lastApplied = LogIndex.zero
    public private(set) var values: [String: String] = [:]

    public init() {}

    public func apply(_ entry: RaftEntry) -> ByteSlice {
        // A second time is no time: after a restart the log may repeat what a snapshot holds.
        guard entry.index > lastApplied else { return ByteSlice() }
        lastApplied = entry.index
        guard entry.kind == .normal, !entry.payload.isEmpty,
            let command = try? Command(decoding: ByteSlice(entry.payload))
        else { return ByteSlice() }
        switch command {
        case .set(let key, let value):
            let old = values.updateValue(value, forKey: key)
            return ByteSlice(old ?? "")
        case .delete(let key):
            return ByteSlice(values.removeValue(forKey: key) ?? "")
        }
    }

    public func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        var writer = ByteWriter()
        writer.write(UInt32(values.count))
        for (key, value) in values.sorted(by: { $0.key < $1.key }) {
            for text in [key, value] {
                writer.write(UInt32(text.utf8.count))
                writer.write(utf8: text)
            }
        }
        return writer.finishContiguous()
    }

    public func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        var reader = ByteReader(snapshot)
        let count: UInt32 = try reader.read()
        var restored: [String: String] = [:]
        for _ in 0..<count {
            let key = try reader.readUTF8(Int(try reader.read(UInt32.self)))
            restored[key] = try reader.readUTF8(Int(try reader.read(UInt32.self)))
        }
        values = restored
        lastApplied = lastIndex
    }
}

extension ByteSlice {
    /// The bytes of an entry, shared.
    public init(_ payload: RaftPayload) {
        self.init(owner: payload.owner, start: payload.start, count: payload.count)
    }
}

extension RaftPayload {
    /// Bytes that nobody changes any more, shared.
    public init(_ slice: ByteSlice) {
        self.init(owner: slice.owner, start: slice.start, count: slice.count)
    }
}
