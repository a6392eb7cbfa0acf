import RaftSimulation

/// `chronik-sim planted`: how often each planted bug is found, as a table.
///
/// Runs are played in processes of their own, because a bug may make the core stop itself; that
/// counts as found.
enum PlantedRun {
    static func run(_ settings: GroupSettings) throws(SimError) {
        let seeds = settings.seeds ?? 1...1_000
        let bugs = settings.plant.map { [$0] } ?? PlantedBug.allCases
        Output.write("| bug | found in | by |\n|---|---|---|\n")
        for bug in bugs {
            guard bug.isAvailable else {
                Output.write("| \(bug.rawValue) | not in this build | |\n")
                continue
            }
            let findings = try findings(of: bug, in: seeds, settings)
            let found = findings.filter { $0 != "ok" }
            var names: [String] = []
            for name in found where !names.contains(name) { names.append(name) }
            let counts = names.map { name in (name, found.count { $0 == name }) }
                .sorted { $0.1 > $1.1 }
                .map { "\($0.0) \($0.1)" }
            let share = "\(found.count) of \(seeds.count) seeds"
            Output.write("| \(bug.rawValue) | \(share) | \(counts.joined(separator: ", ")) |\n")
        }
    }

    /// What each seed comes to: `ok`, an invariant, or `precondition`.
    private static func findings(
        of bug: PlantedBug,
        in seeds: ClosedRange<UInt64>,
        _ settings: GroupSettings
    ) throws(SimError) -> [String] {
        var findings: [String] = []
        var next = seeds.lowerBound
        while next <= seeds.upperBound {
            var arguments = ["groups", "--tally", "--seeds", "\(next)-\(seeds.upperBound)"]
            arguments += ["--plant", bug.rawValue, "--events", "\(settings.events)"]
            if let replicas = settings.replicas { arguments += ["--replicas", "\(replicas)"] }
            if let faults = settings.faults { arguments += ["--faults", faults.text] }
            for line in try Subprocess.output(of: arguments).split(separator: "\n") {
                let words = line.split(separator: " ")
                guard words.count == 3, UInt64(words[0]) == next else { break }
                findings.append(String(words[2]))
                next += 1
            }
            if next <= seeds.upperBound {
                findings.append("precondition")
                next += 1
            }
        }
        return findings
    }
}
