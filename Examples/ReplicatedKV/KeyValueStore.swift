import Bytes
import Raft
import RaftRuntime

/// A map from keys to values, the same on every replica that has applied the same entries.
///
/// A command is a line of text: `set KEY VALUE` or `delete KEY`. The answer to it is the value the
/// key had before.
final class KeyValueStore: StateMachine {
    private(set) var lastApplied = LogIndex.zero
    private(set) var values: [String: String] = [:]

    func apply(_ entry: RaftEntry) -> ByteSlice {
        // Entries without a command are Raft's own: they only move the log on.
        lastApplied = entry.index
        guard entry.kind == .normal, !entry.payload.isEmpty else { return ByteSlice() }
        let words = String(decoding: entry.payload.bytes, as: UTF8.self)
            .split(separator: " ", maxSplits: 2)
            .map(String.init)
        let old: String?
        switch (words.first, words.count) {
        case ("set", 3): old = values.updateValue(words[2], forKey: words[1])
        case ("delete", 2): old = values.removeValue(forKey: words[1])
        default: old = nil
        }
        return ByteSlice(old ?? "")
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        let lines = values.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }
        return ByteSlice(lines.joined())
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        values = [:]
        for line in String(decoding: snapshot.array, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            guard words.count == 2 else { throw MalformedSnapshot(line: String(line)) }
            values[words[0]] = words[1]
        }
        lastApplied = lastIndex
    }
}

struct MalformedSnapshot: Error {
    let line: String
}
