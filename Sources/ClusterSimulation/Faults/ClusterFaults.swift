import Platform

/// Kinds of trouble a run may have.
package struct ClusterFaults: OptionSet, Sendable, Hashable {
    package let rawValue: Int

    package init(rawValue: Int) { self.rawValue = rawValue }

    /// Ways between hosts that become slow.
    package static let clogs = ClusterFaults(rawValue: 1 << 0)
    /// Connections that break, in the middle of a frame.
    package static let resets = ClusterFaults(rawValue: 1 << 1)
    /// Hosts that do not reach each other.
    package static let partitions = ClusterFaults(rawValue: 1 << 2)
    /// Hosts of which one reaches the other, but not back.
    package static let oneWay = ClusterFaults(rawValue: 1 << 3)
    /// Processes that stand still for a while.
    package static let pauses = ClusterFaults(rawValue: 1 << 4)
    /// Processes that end at any moment.
    package static let kills = ClusterFaults(rawValue: 1 << 5)
    /// Machines that lose their power, with torn and lost writes.
    package static let powerCuts = ClusterFaults(rawValue: 1 << 6)
    /// All machines lose their power at once.
    package static let blackouts = ClusterFaults(rawValue: 1 << 7)
    /// Nodes that are stopped and started as an operator would.
    package static let restarts = ClusterFaults(rawValue: 1 << 8)
    /// An fdatasync that fails.
    package static let syncErrors = ClusterFaults(rawValue: 1 << 9)
    /// A disk without room, for a while.
    package static let fullDisks = ClusterFaults(rawValue: 1 << 10)
    /// A part of the log of a node that is down: flipped, lost, or written to another place.
    package static let damage = ClusterFaults(rawValue: 1 << 11)
    /// A node whose data directory is gone.
    package static let wipes = ClusterFaults(rawValue: 1 << 12)
    /// Wall clocks that jump.
    package static let clocks = ClusterFaults(rawValue: 1 << 13)
    /// Trouble just when something rare happens: a vote, an election won, a snapshot taken over.
    package static let upsets = ClusterFaults(rawValue: 1 << 14)
    /// Ways between hosts on which some of what is sent has to be sent again.
    package static let losses = ClusterFaults(rawValue: 1 << 15)
    /// Clocks that run fast or slow.
    package static let drift = ClusterFaults(rawValue: 1 << 16)
    /// Files that cannot be read, for a while.
    package static let readErrors = ClusterFaults(rawValue: 1 << 17)

    package static let all: ClusterFaults = [
        .clogs, .resets, .partitions, .oneWay, .pauses, .kills, .powerCuts, .blackouts, .restarts,
        .syncErrors, .fullDisks, .damage, .wipes, .clocks, .upsets, .losses, .drift, .readErrors,
    ]

    package static let names: [(name: String, fault: ClusterFaults)] = [
        ("clogs", .clogs), ("resets", .resets), ("partitions", .partitions),
        ("one-way", .oneWay), ("pauses", .pauses), ("kills", .kills),
        ("power-cuts", .powerCuts), ("blackouts", .blackouts), ("restarts", .restarts),
        ("sync-errors", .syncErrors), ("full-disks", .fullDisks), ("damage", .damage),
        ("wipes", .wipes), ("clocks", .clocks), ("upsets", .upsets),
        ("losses", .losses), ("drift", .drift), ("read-errors", .readErrors),
    ]

    /// Parses `all`, `none`, or names with commas between them.
    package init?(_ text: String) {
        switch text {
        case "all": self = .all
        case "none": self = []
        default:
            self = []
            for word in text.split(separator: ",", omittingEmptySubsequences: false) {
                guard let found = Self.names.first(where: { $0.name == word }) else { return nil }
                insert(found.fault)
            }
        }
    }

    package var text: String {
        if isEmpty { return "none" }
        if self == .all { return "all" }
        return Self.names.filter { contains($0.fault) }.map(\.name).joined(separator: ",")
    }

    /// Those that are in force, in the order of their names' table.
    var list: [ClusterFaults] { Self.names.map(\.fault).filter(contains) }

    /// A mix of its own for each seed: everything in a sixth of the runs, else some of it.
    static func draw(_ generator: inout ClusterGenerator) -> ClusterFaults {
        if generator.chance(1, in: 6) { return .all }
        let share = 1 + generator.below(5)
        var drawn: ClusterFaults = []
        for (_, fault) in names where generator.chance(share, in: 6) { drawn.insert(fault) }
        return drawn
    }
}
