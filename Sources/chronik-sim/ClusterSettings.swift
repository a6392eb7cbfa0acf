import ClusterSimulation

/// What `chronik-sim cluster` is to do.
struct ClusterSettings: Equatable {
    /// The seed in it is that of the first run.
    var plan = ClusterPlan(seed: 0)
    var seeds: ClosedRange<UInt64>?
    var isEndless = false
    var processes = 1
    var isTold = false
    /// Prints a line a run, for the process that collects them.
    var isTallied = false
    var historyPath: String?

    init(parsing arguments: ArraySlice<String>) throws(SimError) {
        var rest = arguments
        while let argument = rest.popFirst() {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            let flag = parts.first ?? ""
            switch flag {
            case "--tell" where parts.count == 1: isTold = true
            case "--endless" where parts.count == 1: isEndless = true
            case "--tally" where parts.count == 1: isTallied = true
            case "--seed", "--seeds", "--nodes", "--minutes", "--seconds", "--faults", "--plant",
                "--processes", "--history":
                guard let value = parts.count > 1 ? parts[1] : rest.popFirst() else {
                    throw .usage("\(flag) needs a value")
                }
                try set(flag, value)
            default: throw .usage("unknown flag \(argument); see --help")
            }
        }
        guard let seeds else { throw .usage("--seed or --seeds is missing") }
        plan.seed = seeds.lowerBound
        if (isTold || historyPath != nil) && (seeds.count > 1 || isEndless) {
            throw .usage("--tell and --history take a single seed")
        }
    }

    private mutating func set(_ flag: String, _ value: String) throws(SimError) {
        let expected: String
        switch flag {
        case "--seed", "--seeds":
            seeds = SimCommandLine.seeds(value)
            if seeds != nil { return }
            expected = "a number, or a range such as 1-1000"
        case "--nodes":
            if let count = Int(value), (1...7).contains(count) {
                plan.nodes = count
                return
            }
            expected = "1 to 7"
        case "--minutes", "--seconds":
            if let count = Int64(value), (1...100_000).contains(count) {
                plan.seconds = flag == "--minutes" ? count * 60 : count
                return
            }
            expected = "a number from 1 on"
        case "--faults":
            plan.faults = ClusterFaults(value)
            if plan.faults != nil { return }
            expected =
                "all, none, or of " + ClusterFaults.names.map(\.name).joined(separator: ",")
        case "--plant":
            plan.plant = PlantedClusterBug(rawValue: value)
            if let plant = plan.plant {
                if plant.isAvailable { return }
                throw .usage("--plant \(value) needs a build with -Xswiftc -DCHRONIK_PLANT")
            }
            let names = PlantedClusterBug.allCases.map(\.rawValue)
            expected = "one of " + names.joined(separator: ", ")
        case "--processes":
            if let count = Int(value), (1...256).contains(count) {
                processes = count
                return
            }
            expected = "1 to 256"
        default:
            historyPath = value
            return
        }
        throw .usage("\(flag) is '\(value)'; expected \(expected)")
    }

    /// The arguments that play one run, told in one line.
    func arguments(seed: UInt64) -> [String] {
        var plan = plan
        plan.seed = seed
        return plan.command.split(separator: " ").dropFirst().map(String.init) + ["--tally"]
    }
}
