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
            \(seconds) s, \(outcome.steps) events, \(outcome.episodes) times of trouble; \
            \(outcome.answered) requests answered, \(outcome.produced) records sent, \
            \(outcome.acknowledged) batches acknowledged, \(outcome.polled) records read, \
            \(outcome.commits) offsets committed, \(outcome.topics) topics created, \
            \(outcome.leaders) leaders
            reached \(Marks.text(outcome.reached))
            \(healed); \(rate) simulated seconds a second of one core; trace \(outcome.trace)

            """
    }
}

/// What runs came to, in figures that add up.
struct RunFigures {
    var milliseconds = 0
    var spentMilliseconds = 0
    var steps = 0
    var records = 0
    var acknowledged = 0
    var answered = 0
    var episodes = 0
    var troubles = 0
    var leaders = 0

    init() {}

    init(_ outcome: ClusterOutcome, _ spent: Double) {
        milliseconds = Int(outcome.time / 1_000_000)
        spentMilliseconds = Int(spent * 1_000)
        steps = outcome.steps
        records = outcome.produced
        acknowledged = outcome.acknowledged
        answered = outcome.answered
        episodes = outcome.episodes
        troubles = outcome.troubleCount
        leaders = outcome.leaders
    }

    private typealias Figure = any WritableKeyPath<RunFigures, Int> & Sendable
    /// All of them, as a line tells them.
    private static let all: [Figure] = [
        \.milliseconds, \.spentMilliseconds, \.steps, \.records, \.acknowledged, \.answered,
        \.episodes, \.troubles, \.leaders,
    ]
    static var count: Int { all.count }

    init?(_ numbers: [Int]) {
        guard numbers.count == Self.count else { return nil }
        for (figure, number) in zip(Self.all, numbers) { self[keyPath: figure] = number }
    }

    var numbers: [Int] { Self.all.map { self[keyPath: $0] } }

    mutating func add(_ other: RunFigures) {
        for figure in Self.all { self[keyPath: figure] += other[keyPath: figure] }
    }

    var hours: Double { Double(milliseconds) / 3_600_000 }

    var text: String {
        let rate = milliseconds / max(1, spentMilliseconds)
        return """
            \(Double(Int(hours * 100)) / 100) cluster-hours, \(rate) simulated seconds a second of \
            one core; \(episodes) times of trouble with \(troubles) faults, \(leaders) leaders \
            elected, \(answered) requests answered, \(acknowledged) batches acknowledged of \
            \(records) records
            """
    }
}

/// What one run came to, in a line that another process reads.
struct RunTally {
    var figures: RunFigures
    var trace: String
    /// Rare paths that were taken, as `name=count` with commas between.
    var marks: String
    /// The first rule that was broken; empty when none was.
    var rule: String

    init(_ outcome: ClusterOutcome, _ spent: Double) {
        figures = RunFigures(outcome, spent)
        trace = outcome.trace
        marks = outcome.marks.map { "\($0.mark.rawValue)=\($0.count)" }.joined(separator: ",")
        rule = outcome.violations.first.map { String($0.prefix { $0 != ":" }) } ?? ""
    }

    var line: String {
        let numbers = figures.numbers.map(String.init).joined(separator: " ")
        return "tally \(numbers) \(trace) \(marks) \(rule)"
    }

    init?(line: Substring) {
        let last = RunFigures.count + 3
        let words = line.split(separator: " ", maxSplits: last, omittingEmptySubsequences: false)
        guard words.count == last + 1, words[0] == "tally",
            let figures = RunFigures(words[1...RunFigures.count].compactMap { Int($0) })
        else { return nil }
        self.figures = figures
        trace = String(words[last - 2])
        marks = String(words[last - 1])
        rule = String(words[last])
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
