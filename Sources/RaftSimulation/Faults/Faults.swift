/// The kinds of trouble a simulated group may meet; each can be left out.
package struct Faults: OptionSet, Sendable, Hashable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Messages are lost.
    package static let loss = Faults(rawValue: 1 << 0)
    /// Messages arrive twice.
    package static let duplication = Faults(rawValue: 1 << 1)
    /// Messages overtake each other.
    package static let reordering = Faults(rawValue: 1 << 2)
    /// Some messages take very long.
    package static let delay = Faults(rawValue: 1 << 3)
    /// Replicas are parted in both directions.
    package static let partitions = Faults(rawValue: 1 << 4)
    /// Messages pass in one direction only.
    package static let oneWayPartitions = Faults(rawValue: 1 << 5)
    /// Processes stand still for a while.
    package static let pauses = Faults(rawValue: 1 << 6)
    /// Processes end at any moment and come back; writes not yet synced survive up to any point.
    package static let crashes = Faults(rawValue: 1 << 7)
    /// The first write that a crash loses may have reached the disk in part.
    package static let tornWrites = Faults(rawValue: 1 << 8)
    /// Sectors flip, or are written over by a write meant for another place.
    package static let damage = Faults(rawValue: 1 << 9)
    /// A sync fails, and what it was to make durable may be gone.
    package static let syncErrors = Faults(rawValue: 1 << 10)
    /// Nothing can be written until there is space again.
    package static let fullDisks = Faults(rawValue: 1 << 11)
    /// Disks are slow for a while, and the log cannot be read at once.
    package static let slowDisks = Faults(rawValue: 1 << 12)
    /// A disk is lost for good; its replica is not let in again.
    package static let lostDisks = Faults(rawValue: 1 << 13)
    /// Replicas join and leave, singly and jointly.
    package static let membership = Faults(rawValue: 1 << 14)
    /// Logs are compacted, so that others need snapshots; their delivery is reported or not.
    package static let snapshots = Faults(rawValue: 1 << 15)
    /// Clocks run at different and changing speeds.
    package static let clocks = Faults(rawValue: 1 << 16)
    /// Campaigns without reason, transfers of leadership, forgotten leaders, quiescence.
    package static let leadership = Faults(rawValue: 1 << 17)

    package static let none: Faults = []
    package static let all = Faults(rawValue: 1 << 18 - 1)

    package static let names: [(name: String, fault: Faults)] = [
        ("loss", .loss), ("duplication", .duplication), ("reordering", .reordering),
        ("delay", .delay), ("partitions", .partitions), ("one-way", .oneWayPartitions),
        ("pauses", .pauses), ("crashes", .crashes), ("torn-writes", .tornWrites),
        ("damage", .damage), ("sync-errors", .syncErrors), ("full-disks", .fullDisks),
        ("slow-disks", .slowDisks), ("lost-disks", .lostDisks), ("membership", .membership),
        ("snapshots", .snapshots), ("clocks", .clocks), ("leadership", .leadership),
    ]

    /// Reads `all`, `none` or names with commas between them; nil if one of them is none.
    package init?(_ text: String) {
        switch text {
        case "all": self = .all
        case "none": self = .none
        default:
            var faults = Faults.none
            for word in text.split(separator: ",") {
                guard let named = Self.names.first(where: { $0.name == word }) else { return nil }
                faults.insert(named.fault)
            }
            self = faults
        }
    }

    /// As `init(_:)` reads it.
    package var text: String {
        if self == .all { return "all" }
        if isEmpty { return "none" }
        return Self.names.filter { contains($0.fault) }.map(\.name).joined(separator: ",")
    }
}
