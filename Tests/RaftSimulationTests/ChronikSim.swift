import Foundation
import Testing

/// The program `chronik-sim` of this build.
enum ChronikSim {
    /// Runs it in a process of its own, and takes the lines it prints; it must end well.
    ///
    /// Swift's sets and dictionaries order themselves anew in every process, unless told not to.
    static func said(
        by arguments: [String],
        hashesAlike: Bool = false
    ) async throws -> [Substring] {
        let (text, isWell) = try await run(arguments, hashesAlike: hashesAlike)
        #expect(isWell, "\(text)")
        return text.split(separator: "\n")
    }

    private static func run(
        _ arguments: [String],
        hashesAlike: Bool
    ) async throws -> (text: String, isWell: Bool) {
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
        try file.close()
        return (try String(contentsOfFile: path, encoding: .utf8), status == 0)
    }
}
