import CLinux
import Glibc

/// The machine this process runs on.
public final class RealPlatform: HostPlatform {
    public let clock: any Clock = RealClock()
    public let files: FileSystem = RealFileSystem()
    public let loops: [EventLoop]

    /// Starts `loopCount` event loop threads, which live as long as the process.
    public init(loopCount: Int) {
        precondition(loopCount > 0, "\(loopCount) event loops")
        // A peer that went away is an error of the write, never a signal.
        signal(SIGPIPE, SIG_IGN)
        let clock = clock
        loops = (0..<loopCount).map { RealEventLoop(index: $0, clock: clock) }
    }

    public func makeWorker(name: String) -> Worker { RealWorker(name: name, clock: clock) }

    public func makeGenerator() -> SeededGenerator {
        var system = SystemRandomNumberGenerator()
        return SeededGenerator(seed: system.next())
    }

    /// Calls `body` on the first loop when the process is asked to end (SIGTERM, SIGINT).
    public func onTermination(_ body: @escaping @Sendable () -> Void) {
        guard let loop = loops[0] as? RealEventLoop else { return }
        loop.execute { [SIGTERM, SIGINT].forEach { loop.watchSignal($0, body) } }
    }

    /// Tells malloc how the process uses memory; for programs, not for libraries, and before the
    /// first loop.
    ///
    /// A few megabytes of what is freed are kept: else each busy turn gives a few pages back to the
    /// system, and the next one faults them in. One loop does nearly all the work of a small
    /// machine: it gets the heap that grows by a megabyte, where that of another thread grows by a
    /// page, each with a system call.
    package static func tuneMemory(loopCount: Int) {
        _ = clinux_keep_freed_memory(8 << 20, 4 << 20)
        if loopCount == 1 { _ = clinux_share_one_heap(1 << 20) }
    }

    public static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
