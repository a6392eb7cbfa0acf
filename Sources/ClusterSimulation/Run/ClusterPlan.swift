package import Platform

package typealias ClusterGenerator = SeededGenerator

/// What a run is to be; with its seed, all that decides it.
package struct ClusterPlan: Sendable, Equatable {
    package var seed: UInt64
    package var nodes: Int
    /// Virtual seconds of trouble, before everything is mended.
    package var seconds: Int64
    /// `nil`: the seed draws the mix.
    package var faults: ClusterFaults?
    package var plant: PlantedClusterBug?

    package static let defaultNodes = 3
    package static let defaultSeconds: Int64 = 60

    package init(
        seed: UInt64,
        nodes: Int = defaultNodes,
        seconds: Int64 = defaultSeconds,
        faults: ClusterFaults? = nil,
        plant: PlantedClusterBug? = nil
    ) {
        self.seed = seed
        self.nodes = nodes
        self.seconds = seconds
        self.faults = faults
        self.plant = plant
    }

    /// Whether it is an hour of a cluster's life rather than one time of trouble.
    var isLong: Bool { seconds > Course.longestEpisode }

    /// Whether it is so long that it has nights.
    var hasNights: Bool { seconds >= Course.longestDay }

    /// The one line that plays the run again.
    package var command: String {
        var words = ["chronik-sim cluster --seed \(seed)"]
        if nodes != Self.defaultNodes { words.append("--nodes \(nodes)") }
        if seconds != Self.defaultSeconds { words.append("--seconds \(seconds)") }
        if let faults { words.append("--faults \(faults.text)") }
        if let plant { words.append("--plant \(plant.rawValue)") }
        return words.joined(separator: " ")
    }
}

/// What a run came to.
package struct ClusterOutcome: Sendable {
    package var faults: ClusterFaults = []
    package var violations: [String] = []
    package var trace = ""
    /// Virtual nanoseconds.
    package var time: Int64 = 0
    package var steps = 0
    package var produced = 0
    package var acknowledged = 0
    package var polled = 0
    package var commits = 0
    package var topics = 0
    package var leaders = 0
    /// Requests of all kinds that were answered.
    package var answered = 0
    package var episodes = 0
    package var troubles: [(name: String, count: Int)] = []
    package var troubleCount: Int { troubles.reduce(0) { $0 + $1.count } }
    package var secondsToHeal: Int64 = 0
    /// Rare paths, and how often they were taken.
    package var marks: [(mark: CoverageMark, count: Int)] = []
    /// The last things that happened, oldest first.
    package var lastEvents: [String] = []
    /// Everything clients saw, as lines; only when it was asked for.
    package var history: [String] = []
}
