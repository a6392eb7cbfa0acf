import Glibc
import RaftSimulation

/// `chronik-sim groups`: runs of whole groups, one a seed.
enum GroupRun {
    /// Plays the runs; answers whether all of them went well.
    static func run(_ settings: GroupSettings) -> Bool {
        guard let seeds = settings.seeds else { return true }
        TrapReport.install()
        var total = Total()
        var broken: [SimulationPlan] = []
        for seed in seeds {
            let plan = settings.plan(seed: seed)
            TrapReport.announce(plan.command)
            let tell: ((String) -> Void)? = settings.isTold ? { Output.write($0 + "\n") } : nil
            let outcome = Simulation(plan, tell: tell).run()
            total.add(outcome, of: seed)
            if settings.isTallied {
                let found = outcome.violations.first?.invariant.rawValue ?? "ok"
                let trace = String(outcome.trace, radix: 16)
                Output.write("\(seed) \(trace) \(found)\n")
            } else if seeds.count == 1 {
                Output.write(describe(outcome))
            } else if total.runs % 10_000 == 0 {
                Output.write("\(total.runs) runs, \(total.perSecond) events/s\n")
            }
            guard !outcome.violations.isEmpty else { continue }
            broken.append(plan)
            if settings.isTallied { continue }
            for violation in outcome.violations { Output.write("\(violation)\n") }
            Output.write("\(plan.command)\n")
            if broken.count == 10 { break }
        }
        if settings.isTallied { return true }
        if seeds.count > 1 { Output.write(total.text(broken: broken.count)) }
        if let last = broken.last, seeds.count > 1 { Output.write("\(last.command)\n") }
        return broken.isEmpty
    }

    private static func describe(_ outcome: SimulationOutcome) -> String {
        let healed =
            !outcome.violations.isEmpty
            ? "BROKEN"
            : outcome.wasHealed
                ? "whole again after \(outcome.timeoutsToHeal) election timeouts"
                : "no sound majority was left to be healed"
        let trace = String(outcome.trace, radix: 16)
        return """
            \(outcome.replicas) voters, faults \(outcome.faults.text)
            \(outcome.events) events, \(outcome.elections) leaders, \(outcome.commits) commits, \
            \(outcome.acknowledged) proposals and \(outcome.reads) reads answered
            \(outcome.crashes) crashes, \(outcome.snapshots) snapshots, \
            \(outcome.membershipChanges) changes of membership, \(outcome.repairs) repairs
            \(healed); trace \(trace)

            """
    }
}

/// What many runs add up to.
struct Total {
    private(set) var runs = 0
    private var events = 0
    private var sum = SimulationOutcome()
    private var healed = 0
    private var longestHealing = 0
    private var slowestSeed: UInt64 = 0
    /// The sum of the runs' traces: the same for the same runs, in whatever order.
    private var trace: UInt64 = 0
    private let start = Total.processorTime

    mutating func add(_ outcome: SimulationOutcome, of seed: UInt64) {
        runs += 1
        events += outcome.events
        sum.commits += outcome.commits
        sum.acknowledged += outcome.acknowledged
        sum.reads += outcome.reads
        sum.elections += outcome.elections
        sum.crashes += outcome.crashes
        sum.snapshots += outcome.snapshots
        sum.membershipChanges += outcome.membershipChanges
        sum.repairs += outcome.repairs
        if outcome.wasHealed { healed += 1 }
        if outcome.timeoutsToHeal > longestHealing {
            longestHealing = outcome.timeoutsToHeal
            slowestSeed = seed
        }
        trace &+= outcome.trace
    }

    private static var processorTime: Double { Double(clock()) / Double(CLOCKS_PER_SEC) }

    var perSecond: Int { Int(Double(events) / max(0.001, Total.processorTime - start)) }

    func text(broken: Int) -> String {
        """
        \(runs) runs, \(events) events, \(perSecond) events a second of one core
        \(sum.elections) leaders, \(sum.commits) commits, \(sum.acknowledged) proposals and \
        \(sum.reads) reads answered
        \(sum.crashes) crashes, \(sum.snapshots) snapshots, \(sum.membershipChanges) changes of \
        membership, \(sum.repairs) repairs
        \(healed) healed, within at most \(longestHealing) election timeouts (seed \(slowestSeed))
        \(broken) broken; sum of traces \(String(trace, radix: 16))

        """
    }
}

/// Says which run it was if the core's own preconditions end the process.
enum TrapReport {
    // Written before a run and read by the signal handler of the same thread.
    nonisolated(unsafe) private static let buffer = UnsafeMutablePointer<UInt8>.allocate(
        capacity: 1_024
    )
    nonisolated(unsafe) private static var count = 0

    static func install() {
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] {
            signal(number) { number in
                _ = Glibc.write(STDOUT_FILENO, TrapReport.buffer, TrapReport.count)
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    static func announce(_ command: String) {
        let text = "it stopped itself in this run:\n\(command)\n"
        count = 0
        for byte in text.utf8.prefix(1_024) {
            buffer[count] = byte
            count += 1
        }
    }
}
