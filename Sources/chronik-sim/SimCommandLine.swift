import ClusterSimulation
import RaftSimulation

/// What `chronik-sim groups` and `chronik-sim planted` are to do.
struct GroupSettings: Equatable {
    var seeds: ClosedRange<UInt64>?
    var replicas: Int?
    var events = 1_000
    var faults: Faults?
    var plant: PlantedBug?
    var isTold = false
    var isTallied = false

    func plan(seed: UInt64) -> SimulationPlan {
        SimulationPlan(
            seed: seed,
            replicas: replicas,
            events: events,
            faults: faults,
            plant: plant
        )
    }
}

/// Turns arguments into what is to be done.
enum SimCommandLine {
    enum Command: Equatable {
        case help(String)
        case script(path: String)
        case groups(GroupSettings)
        case cluster(ClusterSettings)
        case check(path: String)
        case planted(GroupSettings)
    }

    static func parse(_ arguments: [String]) throws(SimError) -> Command {
        if arguments.contains("--help") || arguments.contains("-h") { return .help(help) }
        guard let command = arguments.first else { throw .usage("no command given; see --help") }
        let rest = arguments.dropFirst()
        switch command {
        case "raft": return try parseScript(rest)
        case "groups":
            let settings = try parseGroups(rest)
            guard settings.seeds != nil else { throw .usage("--seed or --seeds is missing") }
            return .groups(settings)
        case "cluster": return .cluster(try ClusterSettings(parsing: rest))
        case "check":
            guard let path = rest.first, rest.count == 1, path == "-" || !path.hasPrefix("-") else {
                throw .usage("check takes one history: chronik-sim check HISTORY")
            }
            return .check(path: path)
        case "planted":
            let settings = try parseGroups(rest)
            guard !settings.isTold else { throw .usage("--tell is for groups") }
            return .planted(settings)
        default: throw .usage("unknown command \(command); see --help")
        }
    }

    private static func parseScript(_ rest: ArraySlice<String>) throws(SimError) -> Command {
        guard let path = rest.first, rest.count == 1 else {
            throw .usage("raft takes one script: chronik-sim raft FILE, or - for standard input")
        }
        guard path == "-" || !path.hasPrefix("-") else { throw .usage("unknown flag \(path)") }
        return .script(path: path)
    }

    private static func parseGroups(
        _ arguments: ArraySlice<String>
    ) throws(SimError) -> GroupSettings {
        var settings = GroupSettings()
        var rest = arguments
        while let argument = rest.popFirst() {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            let flag = parts.first ?? ""
            switch flag {
            case "--tell" where parts.count == 1: settings.isTold = true
            case "--tally" where parts.count == 1: settings.isTallied = true
            case "--seed", "--seeds", "--replicas", "--events", "--faults", "--plant":
                guard let value = parts.count > 1 ? parts[1] : rest.popFirst() else {
                    throw .usage("\(flag) needs a value")
                }
                try set(flag, value, in: &settings)
            default: throw .usage("unknown flag \(argument); see --help")
            }
        }
        if settings.isTold && settings.seeds.map({ $0.count > 1 }) ?? false {
            throw .usage("--tell takes a single seed")
        }
        return settings
    }

    private static func set(
        _ flag: String,
        _ value: String,
        in settings: inout GroupSettings
    ) throws(SimError) {
        let expected: String
        switch flag {
        case "--seed", "--seeds":
            settings.seeds = seeds(value)
            if settings.seeds != nil { return }
            expected = "a number, or a range such as 1-1000"
        case "--replicas":
            settings.replicas = Int(value)
            if let count = settings.replicas, (1...7).contains(count) { return }
            expected = "1 to 7"
        case "--events":
            if let count = Int(value), (1...1_000_000_000).contains(count) {
                settings.events = count
                return
            }
            expected = "a number from 1 on"
        case "--faults":
            settings.faults = Faults(value)
            if settings.faults != nil { return }
            expected = "all, none, or of " + Faults.names.map(\.name).joined(separator: ",")
        default:
            settings.plant = PlantedBug(rawValue: value)
            if let plant = settings.plant {
                if plant.isAvailable { return }
                throw .usage("--plant \(value) needs a build with -Xswiftc -DCHRONIK_PLANT")
            }
            expected = "one of " + PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")
        }
        throw .usage("\(flag) is '\(value)'; expected \(expected)")
    }

    static func seeds(_ text: String) -> ClosedRange<UInt64>? {
        let bounds = text.split(separator: "-", omittingEmptySubsequences: false)
            .map { UInt64($0) }
        guard let first = bounds.first, let lower = first, bounds.count <= 2,
            let upper = bounds.count == 2 ? bounds[1] : lower, lower <= upper, upper < .max
        else { return nil }
        return lower...upper
    }

    static let help = """
        Usage: chronik-sim COMMAND [options]

        Makes Chronik visible, and puts it to the test.

        Commands:
          cluster     Runs whole clusters, from the clients to the disks, under faults drawn from
                      a seed; then checks that they become whole again, and that clients saw
                      nothing they must not see: docs/cluster-simulation.md.
          check FILE  Checks what clients saw of a cluster, real or simulated:
                      docs/history-format.md.
          groups      Runs Raft groups under faults drawn from a seed, and checks the invariants
                      of Raft after every event: docs/raft-simulation.md.
          planted     Counts in how many seeds each bug planted in those groups is found.
          raft FILE   Runs a script that drives a small group of replicas directive by directive,
                      and prints the whole state after each of them as a line of JSON. With - the
                      script is read from standard input. The language: docs/raft-scripts.md.

        Options of cluster:
          --seed N          The run to play; the same seed is the same run, bit by bit.
          --seeds A-B       All runs from A to B, in processes of their own.
          --endless         One seed after the other, from --seed on, until something is found.
          --nodes 1..7      Nodes of the cluster; \(ClusterPlan.defaultNodes) unless given.
          --minutes M       Minutes of trouble, in virtual time.
          --seconds S       The same in seconds; \(ClusterPlan.defaultSeconds) unless given.
          --faults LIST     all, none, or kinds with commas between them; without it the seed
                            chooses. Kinds:\(clusterKinds)
          --plant BUG       Makes a mistake on purpose: docs/cluster-simulation.md.
          --processes N     Runs at the same time, with --seeds or --endless.
          --tell            Prints everything that happens (a single seed).
          --history FILE    Writes down what clients saw (a single seed).

        Options of groups and planted:
          --seed N          The run to play; the same seed is the same run, bit by bit.
          --seeds A-B       All runs from A to B.
          --replicas 1..7   Voters the group starts with; without it the seed chooses.
          --events N        Events before everything is mended; \(GroupSettings().events) unless given.
          --faults LIST     all, none, or kinds with commas between them; without it the seed
                            chooses. Kinds:\(kinds)
          --plant BUG       Makes a mistake on purpose, one of those that planted counts.
          --tell            Prints everything that happens (groups, a single seed).
          --tally           Prints a line for every seed: the seed, its trace, and `ok` or the first
                            invariant that did not hold. The exit code is 0 in any case.

        Exit code: 0 when it ran and nothing was wrong, 1 when something did not hold (the last
        line is the command that plays that run again), 64 for a wrong command line, 65 for a
        malformed script or history (with the line), 66 when the file cannot be read.

        """

    private static var kinds: String { lines(of: Faults.names.map(\.name)) }

    private static var clusterKinds: String { lines(of: ClusterFaults.names.map(\.name)) }

    private static func lines(of names: [String]) -> String {
        var lines = [""]
        for name in names {
            if (lines.last?.count ?? 0) + name.count > 60 { lines.append("") }
            lines[lines.count - 1] += " " + name
        }
        return lines.joined(separator: "\n" + String(repeating: " ", count: 19))
    }
}
