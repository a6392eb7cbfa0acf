import Foundation
import Testing

@testable import Raft

/// The log: its tail in memory against a plain array, and reads that have to wait.
@Suite struct LogTests {
    @Test func `the tail holds what a plain array would`() {
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<200 {
            var tail = LogTail(startingAt: LogIndex(5))
            var model: [RaftEntry] = []
            var first = LogIndex(5)
            for step in 0..<200 {
                switch Int.random(in: 0..<10, using: &generator) {
                case 0..<5:
                    let payload = RaftPayload(copying: [UInt8(step)])
                    let entry = RaftEntry(index: tail.end, term: Term(1), payload: payload)
                    tail.append(entry)
                    model.append(entry)
                case 5..<7:
                    let pending = tail.pendingFirst
                    let taken = tail.takePending()
                    #expect(
                        taken.map(\.index.rawValue) == Array(pending.rawValue..<tail.end.rawValue)
                    )
                case 7:
                    let low = first.rawValue > 2 ? first.rawValue - 2 : 0
                    let index = LogIndex(
                        UInt64.random(in: low...tail.end.rawValue, using: &generator)
                    )
                    tail.truncate(from: index)
                    model.removeAll { $0.index >= index }
                    if index < first { first = index }
                default:
                    guard tail.first < tail.pendingFirst else { break }
                    let range = tail.first.rawValue..<tail.pendingFirst.rawValue
                    tail.drop(through: LogIndex(UInt64.random(in: range, using: &generator)))
                    model.removeAll { $0.index < tail.first }
                    first = tail.first
                }
                #expect(tail.first == (model.first?.index ?? tail.end))
                #expect(tail.end == (model.last.map { $0.index + 1 } ?? tail.end))
                check(tail, model, &generator)
            }
        }
    }

    private func check(
        _ tail: LogTail,
        _ model: [RaftEntry],
        _ generator: inout SeededGenerator
    ) {
        guard !model.isEmpty else { return }
        let lower = Int.random(in: 0..<model.count, using: &generator)
        let upper = Int.random(in: lower..<model.count, using: &generator) + 1
        let maxBytes = Int.random(in: 0..<100, using: &generator)
        var expected: [RaftEntry] = []
        var bytes = 0
        for entry in model[lower..<upper] {
            bytes += entry.byteCount
            if bytes > maxBytes && !expected.isEmpty { break }
            expected.append(entry)
        }
        let range = model[lower].index..<(model[lower].index + (upper - lower))
        #expect(tail.entries(in: range, maxBytes: maxBytes) == expected)
        #expect(tail[model[lower].index] == model[lower])
    }

    @Test func `a follower waits while its entries are fetched, the others do not`() throws {
        let cluster = try SimulatedCluster(voters: 3)
        cluster.elect(1)
        cluster.isolate(3)
        for _ in 0..<5 {
            cluster.propose(1)
            cluster.stabilize()
        }
        cluster[1].disk.unavailableBelow = LogIndex(100)
        cluster.heal()
        cluster.run(ticks: 5)
        #expect(cluster.node(3).lastIndex == LogIndex(2))
        let content = try #require(cluster.propose(1))
        cluster.stabilize()
        #expect(cluster.acknowledged[content] != nil)
        cluster[1].disk.unavailableBelow = .zero
        cluster.with(1) { $0.onLogReadable() }
        cluster.stabilize()
        #expect(cluster.terms(3) == cluster.terms(1))
        #expect(cluster.invariants.violations == [])
    }

    @Test func `committed entries wait while they are fetched`() throws {
        let cluster = try SimulatedCluster(voters: 1)
        cluster.elect(1)
        for _ in 0..<5 { cluster.propose(1) }
        cluster.stabilize()
        cluster.crash(1)
        cluster[1].disk.unavailableBelow = LogIndex(100)
        try cluster.restart(1)
        let node = cluster.node(1)
        #expect(node.applied == LogIndex(1))
        #expect(!node.hasReady, "it does not ask again and again")
        cluster[1].disk.unavailableBelow = .zero
        cluster.with(1) { $0.onLogReadable() }
        cluster.stabilize()
        #expect(cluster.node(1).applied == cluster.node(1).commit)
        #expect(cluster.invariants.violations == [])
    }

    @Test func `no test of the library sleeps`() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent()
        for suite in ["RaftTests", "RaftSimulationTests"] {
            let folder = tests.appendingPathComponent(suite)
            let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
            var count = 0
            while let file = files?.nextObject() as? URL {
                guard file.pathExtension == "swift" else { continue }
                let text = try String(contentsOf: file, encoding: .utf8)
                #expect(!text.contains("sleep" + "("), "\(file.lastPathComponent)")
                count += 1
            }
            #expect(count > 2, "\(suite)")
        }
    }

    @Test func `the library imports nothing`() throws {
        var sources = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { sources.deleteLastPathComponent() }
        sources.appendPathComponent("Sources/Raft")
        let files = FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)
        var count = 0
        while let file = files?.nextObject() as? URL {
            guard file.pathExtension == "swift" else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            let imports = text.split(separator: "\n").filter { line in
                line.split(separator: " ").prefix(3).contains("import")
                    && !line.hasPrefix("///") && !line.hasPrefix("    ///")
            }
            #expect(imports == [], "\(file.lastPathComponent)")
            count += 1
        }
        #expect(count > 20)
    }
}
