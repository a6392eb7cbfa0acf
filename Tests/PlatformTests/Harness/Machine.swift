import Glibc
import Platform

/// The machine the tests run on: its loops live as long as the process.
enum Machine {
    static let platform = RealPlatform(loopCount: 2)

    static var loop: EventLoop { platform.loops[0] }
    static var otherLoop: EventLoop { platform.loops[1] }

    /// Runs `body` as a task of `loop`.
    static func on<T: Sendable>(
        _ loop: EventLoop = loop,
        _ body: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        try await Task(executorPreference: loop) { try await body() }.value
    }

    /// A new directory, removed with all in it afterwards.
    static func withDirectory<T>(_ body: (String) throws -> T) throws -> T {
        let path = "/var/tmp/chronik-platform-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try platform.files.createDirectory(path)
        defer { try? platform.files.removeTree(path) }
        return try body(path)
    }
}

/// A value that a loop's thread or the test changes, never both at once.
final class Box<T>: @unchecked Sendable {
    // Unchecked: the test waits for the loop before it looks.
    var value: T
    init(_ value: T) { self.value = value }
}
