import Bytes
import Raft
import RaftRuntime

/// A number that commands add to; each answer is the new sum.
final class Counter: StateMachine {
    private(set) var lastApplied = LogIndex.zero
    private(set) var sum = 0

    static func add(_ number: Int) -> ByteSlice { ByteSlice("\(number)") }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        lastApplied = entry.index
        if entry.kind == .normal {
            sum += Int(String(decoding: entry.payload.bytes, as: UTF8.self)) ?? 0
        }
        return ByteSlice("\(sum)")
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        ByteSlice("\(sum)")
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        sum = Int(String(decoding: snapshot.array, as: UTF8.self)) ?? 0
        lastApplied = lastIndex
    }
}
