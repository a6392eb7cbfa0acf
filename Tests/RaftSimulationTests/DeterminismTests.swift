import Foundation
import RaftSimulation
import Testing

/// One seed is one run: whatever the process, its hash seed, and what it played before.
@Suite struct DeterminismTests {
    /// Runs the program in a process of its own, and takes what it prints.
    ///
    /// Swift's sets and dictionaries order themselves anew in every process, unless told not to.
    private func said(
        by arguments: [String],
        hashesAlike: Bool = false
    ) async throws -> [Substring] {
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("chronik-sim-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("output").path
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        let file = try #require(FileHandle(forWritingAtPath: path))
        let tests = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }
        let programs = tests?.bundleURL.deletingLastPathComponent() ?? Bundle.main.bundleURL
        let program = Process()
        program.executableURL = programs.appendingPathComponent("chronik-sim")
        program.arguments = arguments
        program.standardOutput = file
        var environment = ProcessInfo.processInfo.environment
        environment["SWIFT_DETERMINISTIC_HASHING"] = hashesAlike ? "1" : nil
        program.environment = environment
        let status = try await withCheckedThrowingContinuation { continuation in
            program.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try program.run() } catch { continuation.resume(throwing: error) }
        }
        #expect(status == 0)
        try file.close()
        let text = try String(contentsOfFile: path, encoding: .utf8)
        return text.split(separator: "\n")
    }

    @Test func `a seed is the same run in every process, alone or among others`() async throws {
        let together = try await said(by: ["groups", "--tally", "--seeds", "1-30"])
        #expect(together.count == 30)
        let alike = try await said(
            by: ["groups", "--tally", "--seeds", "1-30"],
            hashesAlike: true
        )
        #expect(together == alike)
        for seed in [30, 7, 1] {
            let alone = try await said(by: ["groups", "--tally", "--seeds", "\(seed)"])
            #expect(alone == [together[seed - 1]])
        }
        // In this process, backwards.
        let here = (1...30).reversed().map { seed in
            let outcome = Simulation(SimulationPlan(seed: UInt64(seed))).run()
            return "\(seed) \(String(outcome.trace, radix: 16)) ok"
        }
        #expect(together.map(String.init) == here.reversed())
    }

    @Test func `a run is told in the same words in every process`() async throws {
        let arguments = ["groups", "--seed", "9", "--events", "300", "--tell"]
        let words = try await said(by: arguments)
        #expect(words.count > 100)
        #expect(try await said(by: arguments, hashesAlike: true) == words)
    }
}
