import Glibc
import RaftSimulation

/// `chronik-sim planted`: how often each planted bug is found, as a table.
///
/// Runs are played in processes of their own, because a bug may make the core stop itself; that
/// counts as found.
enum PlantedRun {
    static func run(_ settings: ClusterSettings) throws(SimError) {
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
        _ settings: ClusterSettings
    ) throws(SimError) -> [String] {
        var findings: [String] = []
        var next = seeds.lowerBound
        while next <= seeds.upperBound {
            var arguments = ["cluster", "--tally", "--seeds", "\(next)-\(seeds.upperBound)"]
            arguments += ["--plant", bug.rawValue, "--events", "\(settings.events)"]
            if let replicas = settings.replicas { arguments += ["--replicas", "\(replicas)"] }
            if let faults = settings.faults { arguments += ["--faults", faults.text] }
            for line in try output(of: arguments).split(separator: "\n") {
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

    /// Runs this very program, and takes what it prints.
    private static func output(of arguments: [String]) throws(SimError) -> String {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw .cannotSpawn(reason: String(cString: strerror(errno))) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        defer { posix_spawn_file_actions_destroy(&actions) }
        var words: [UnsafeMutablePointer<CChar>?] = (["chronik-sim"] + arguments).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var process: pid_t = 0
        let result = posix_spawn(&process, "/proc/self/exe", &actions, nil, words, environ)
        close(ends[1])
        defer { close(ends[0]) }
        guard result == 0 else { throw .cannotSpawn(reason: String(cString: strerror(result))) }
        let text = try Input.read(descriptor: ends[0], name: "the run")
        var status: Int32 = 0
        waitpid(process, &status, 0)
        return text
    }
}
