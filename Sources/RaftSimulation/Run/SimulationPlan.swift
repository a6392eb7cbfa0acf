/// All there is to say about a run: the same plan is the same run, bit by bit.
package struct SimulationPlan: Sendable, Equatable {
    package var seed: UInt64
    /// How many voters the group starts with; nil lets the seed choose from 1 to 7.
    package var replicas: Int?
    /// How many events before everything is healed.
    package var events: Int
    /// What may go wrong; nil lets the seed choose.
    package var faults: Faults?
    package var plant: PlantedBug?

    package init(
        seed: UInt64,
        replicas: Int? = nil,
        events: Int = 1_000,
        faults: Faults? = nil,
        plant: PlantedBug? = nil
    ) {
        precondition(replicas.map { (1...7).contains($0) } ?? true, "1 to 7 replicas")
        self.seed = seed
        self.replicas = replicas
        self.events = events
        self.faults = faults
        self.plant = plant
    }

    /// The command that runs it again.
    package var command: String {
        var text = "chronik-sim groups --seed \(seed)"
        if let replicas { text += " --replicas \(replicas)" }
        text += " --events \(events)"
        if let faults { text += " --faults \(faults.text)" }
        if let plant { text += " --plant \(plant.rawValue)" }
        return text
    }
}

/// How a run went.
package struct SimulationOutcome: Sendable, Equatable {
    package var violations: [Violation] = []
    /// Events, those of the time after healing included.
    package var events = 0
    package var replicas = 0
    package var faults = Faults.none
    /// Entries the group has committed.
    package var commits = 0
    package var acknowledged = 0
    package var reads = 0
    package var elections = 0
    package var crashes = 0
    package var snapshots = 0
    package var membershipChanges = 0
    package var repairs = 0
    /// Whether a majority was left to be healed, so that it had to agree and serve again.
    package var wasHealed = false
    /// Election timeouts from healing until the group was whole.
    package var timeoutsToHeal = 0
    /// Folded from everything that happened.
    package var trace: UInt64 = 0

    package init() {}
}
