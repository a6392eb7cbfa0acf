import ClusterSimulation
import Glibc
import Platform

/// `chronik-sim cluster`: runs of whole clusters, one a seed.
enum ClusterCommand {
    /// Plays the runs; answers whether all of them went well.
    static func run(_ settings: ClusterSettings) throws(SimError) -> Bool {
        if settings.isEndless || settings.seeds.map({ $0.count > 1 }) ?? false {
            var batch = ClusterBatch(settings)
            return try batch.run()
        }
        TrapReport.install()
        TrapReport.announce(settings.plan.command)
        let start = processorTime
        let outcome = ClusterRun.play(
            settings.plan,
            keepsHistory: settings.historyPath != nil,
            tell: settings.isTold ? { Output.write($0 + "\n") } : nil
        )
        let spent = processorTime - start
        if let path = settings.historyPath {
            try Output.write(outcome.history.joined(separator: "\n") + "\n", toFile: path)
        }
        if settings.isTallied {
            Output.write(RunTally(outcome, spent).line + "\n")
            return outcome.violations.isEmpty
        }
        Output.write(describe(outcome, spent))
        guard !outcome.violations.isEmpty else { return true }
        if !settings.isTold {
            for line in outcome.lastEvents { Output.write("  \(line)\n") }
        }
        for violation in outcome.violations { Output.write("\(violation)\n") }
        Output.write("\(settings.plan.command)\n")
        return false
    }

    static var processorTime: Double { Double(clock()) / Double(CLOCKS_PER_SEC) }

    private static func describe(_ outcome: ClusterOutcome, _ spent: Double) -> String {
        let seconds = outcome.time / 1_000_000_000
        let troubles = outcome.troubles.map { "\($0.count) \($0.name)" }
        let healed =
            outcome.violations.isEmpty
            ? "whole again after \(outcome.secondsToHeal) s" : "something is wrong"
        let rate = Int(Double(seconds) / max(0.001, spent))
        return """
            faults \(outcome.faults.text): \(troubles.joined(separator: ", "))
            \(seconds) s, \(outcome.steps) events; \(outcome.produced) records sent, \
            \(outcome.acknowledged) batches acknowledged, \(outcome.polled) records read, \
            \(outcome.commits) offsets committed, \(outcome.topics) topics created, \
            \(outcome.leaders) leaders
            reached \(Marks.text(outcome.reached))
            \(healed); \(rate) simulated seconds a second of one core; trace \(outcome.trace)

            """
    }
}

/// What one run came to, in a line that another process reads.
struct RunTally {
    var milliseconds: Int64
    var spentMilliseconds: Int64
    var steps: Int
    var records: Int
    var trace: String
    /// Rare paths that were taken, as `name=count` with commas between.
    var marks: String
    /// The first rule that was broken; empty when none was.
    var rule: String

    init(_ outcome: ClusterOutcome, _ spent: Double) {
        milliseconds = outcome.time / 1_000_000
        spentMilliseconds = Int64(spent * 1_000)
        steps = outcome.steps
        records = outcome.produced
        trace = outcome.trace
        marks = outcome.marks.map { "\($0.mark.rawValue)=\($0.count)" }.joined(separator: ",")
        rule = outcome.violations.first.map { String($0.prefix { $0 != ":" }) } ?? ""
    }

    var line: String {
        "tally \(milliseconds) \(spentMilliseconds) \(steps) \(records) \(trace) \(marks) \(rule)"
    }

    init?(line: Substring) {
        let words = line.split(separator: " ", maxSplits: 7, omittingEmptySubsequences: false)
        guard words.count == 8, words[0] == "tally", let milliseconds = Int64(words[1]),
            let spent = Int64(words[2]), let steps = Int(words[3]), let records = Int(words[4])
        else { return nil }
        self.milliseconds = milliseconds
        spentMilliseconds = spent
        self.steps = steps
        self.records = records
        trace = String(words[5])
        marks = String(words[6])
        rule = String(words[7])
    }
}

/// Rare paths and how often they were taken, in words.
enum Marks {
    static func text(_ marks: [(name: String, count: Int)]) -> String {
        marks.map { "\($0.name) \($0.count)" }.joined(separator: ", ")
    }
}

extension ClusterOutcome {
    /// The rare paths that were taken.
    fileprivate var reached: [(name: String, count: Int)] {
        marks.filter { $0.count > 0 }.map { ($0.mark.rawValue, $0.count) }
    }
}
