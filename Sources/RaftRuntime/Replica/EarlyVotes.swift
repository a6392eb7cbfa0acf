import Raft

/// Requests for votes in groups that this node has not started yet.
///
/// A new group's first candidate is often a moment ahead of the other founders, who hear of the
/// group from the same log. What it asks would be lost, and it would ask again only later. Like any
/// message these may be late or lost at any time.
struct EarlyVotes {
    private struct Early {
        let group: UInt64
        let message: Message
        let arrived: Int64
    }

    /// Above the founders that start at a time; each asks once.
    private static let limit = 256

    private let patience: Int64
    /// Oldest first.
    private var kept: [Early] = []

    /// - Parameter patience: Nanoseconds after which a candidate has asked again.
    init(patience: Int64) { self.patience = patience }

    mutating func keep(_ message: Message, of group: UInt64, now: Int64) {
        switch message.body {
        case .vote, .preVote: break
        default: return
        }
        kept.removeAll {
            now - $0.arrived > patience || ($0.group == group && $0.message.from == message.from)
        }
        if kept.count == Self.limit { kept.removeFirst() }
        kept.append(Early(group: group, message: message, arrived: now))
    }

    /// What was asked in a group that starts now.
    mutating func take(_ group: UInt64, now: Int64) -> [Message] {
        guard !kept.isEmpty else { return [] }
        let found = kept.filter { $0.group == group && now - $0.arrived <= patience }
        kept.removeAll { $0.group == group }
        return found.map(\.message)
    }
}
