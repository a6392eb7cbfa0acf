import Foundation
import Testing

/// The example is a program of its own: here it runs as a reader would run it.
@Suite struct ExampleTests {
    /// Where SwiftPM puts the programs beside the tests.
    static var programs: URL {
        Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL
            .deletingLastPathComponent() ?? Bundle.main.bundleURL
    }

    @Test func `the replicated key-value store loses nothing`() throws {
        let folder = Folder()
        let program = Process()
        program.executableURL = Self.programs.appendingPathComponent("replicated-kv")
        program.arguments = [folder.path]
        let output = Pipe()
        program.standardOutput = output
        program.standardError = FileHandle.nullDevice
        try program.run()
        let said = try output.fileHandleForReading.readToEnd() ?? Data()
        program.waitUntilExit()
        #expect(program.terminationStatus == 0)
        let lines = String(decoding: said, as: UTF8.self).split(separator: "\n")
        #expect(lines.last == "nothing was lost")
        #expect(lines.count == 9)
        #expect(lines.count { $0.hasSuffix(" leads") } == 2)
    }
}
