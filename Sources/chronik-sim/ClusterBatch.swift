import ClusterSimulation
import Glibc

/// Many runs, each in a process of its own, so that one that ends itself is only one that failed.
struct ClusterBatch {
    private let settings: ClusterSettings
    private var runs = 0
    private var figures = RunFigures()
    /// What was broken, and in which seeds.
    private var found: [(rule: String, seeds: [UInt64])] = []
    private var lastProgress = 0
    /// Rare paths, and in how many runs they were taken.
    private var marks: [(name: String, count: Int)] = []

    init(_ settings: ClusterSettings) { self.settings = settings }

    mutating func run() throws(SimError) -> Bool {
        var next = settings.plan.seed
        let last = settings.isEndless ? UInt64.max : settings.seeds?.upperBound ?? next
        var taken = next
        var underWay: [(seed: UInt64, process: Subprocess)] = []
        // What has ended before a seed that is told of first.
        var ended: [UInt64: (text: String, isWell: Bool)] = [:]
        while true {
            while underWay.count < settings.processes, next <= last, goesOn {
                underWay.append((next, try Subprocess.start(settings.arguments(seed: next))))
                next += 1
            }
            guard !underWay.isEmpty else { break }
            let place = Subprocess.awaitAny(of: underWay.map(\.process))
            let (seed, process) = underWay.remove(at: place)
            ended[seed] = try process.finish()
            while let end = ended.removeValue(forKey: taken) {
                take(taken, end)
                taken += 1
            }
            showProgress()
        }
        Output.write(text)
        if let first = found.first?.seeds.first {
            var plan = settings.plan
            plan.seed = first
            Output.write("\(plan.command)\n")
        }
        return found.isEmpty
    }

    /// An endless run ends with what it finds.
    private var goesOn: Bool { !settings.isEndless || found.isEmpty }

    private mutating func take(_ seed: UInt64, _ end: (text: String, isWell: Bool)) {
        runs += 1
        let tally = end.text.split(separator: "\n").compactMap { RunTally(line: $0) }.last
        if let tally {
            figures.add(tally.figures)
            add(tally.marks)
        }
        if settings.isTallied {
            Output.write("\(seed) \(tally?.trace ?? "-") \(tally?.rule ?? "stopped itself")\n")
        }
        guard !end.isWell else { return }
        let rule = tally?.rule ?? "stopped itself"
        if !settings.isTallied { Output.write("seed \(seed): \(rule)\n") }
        if let index = found.firstIndex(where: { $0.rule == rule }) {
            found[index].seeds.append(seed)
        } else {
            found.append((rule, [seed]))
        }
    }

    private mutating func add(_ text: String) {
        for (index, part) in text.split(separator: ",").enumerated() {
            let words = part.split(separator: "=")
            guard words.count == 2, let count = Int(words[1]) else { continue }
            if index >= marks.count { marks.append((String(words[0]), 0)) }
            if count > 0 { marks[index].count += 1 }
        }
    }

    private mutating func showProgress() {
        let now = time(nil)
        guard now - lastProgress >= 10, !settings.isTallied else { return }
        if lastProgress > 0 { Output.write(progress + "\n") }
        lastProgress = now
    }

    private var progress: String { "\(runs) runs: \(figures.text)" }

    private var text: String {
        var lines = [progress]
        for (rule, seeds) in found.sorted(by: { $0.seeds.count > $1.seeds.count }) {
            let some = seeds.prefix(8).map(String.init).joined(separator: ", ")
            lines.append("\(rule): \(seeds.count) of \(runs) seeds, among them \(some)")
        }
        lines.append("runs that reached " + Marks.text(marks.filter { $0.count > 0 }))
        let missing = marks.filter { $0.count == 0 }.map(\.name)
        if !missing.isEmpty { lines.append("no run reached " + missing.joined(separator: ", ")) }
        if found.isEmpty { lines.append("nothing was found") }
        return lines.joined(separator: "\n") + "\n"
    }
}
