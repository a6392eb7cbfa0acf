import Glibc

/// Says which seed ran when a broken invariant ends the process.
enum CrashNote {
    private static let capacity = 256
    // Unsafe: written before each world by the one thread that runs it, read by a signal handler.
    nonisolated(unsafe) private static let text =
        UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    nonisolated(unsafe) private static var length = 0
    nonisolated(unsafe) private static var beforeIll = sigaction()
    nonisolated(unsafe) private static var beforeTrap = sigaction()

    static func set(_ note: String) {
        if length == 0 { install() }
        var count = 0
        for byte in note.utf8.prefix(capacity - 1) {
            text[count] = byte
            count += 1
        }
        text[count] = UInt8(ascii: "\n")
        length = count + 1
    }

    /// Whoever handled the signal before handles it after the note.
    private static func install() {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            _ = write(STDERR_FILENO, CrashNote.text, CrashNote.length)
            if signal == SIGILL {
                sigaction(signal, &CrashNote.beforeIll, nil)
            } else {
                sigaction(signal, &CrashNote.beforeTrap, nil)
            }
        }
        sigaction(SIGILL, &action, &beforeIll)
        sigaction(SIGTRAP, &action, &beforeTrap)
    }
}
