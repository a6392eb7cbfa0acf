/// The names of files in the log's directory.
///
/// | name | meaning |
/// |---|---|
/// | `<sequence>.wal` | part of the log, or prepared to be the next one |
/// | `<sequence>.free` | nobody needs what it holds; to be recycled under a new sequence |
/// | `<number>.new` | being filled with zeros; rubbish after a crash |
/// | `clean-shutdown` | where the log ended when it was closed |
enum FileName {
    static let cleanShutdown = "clean-shutdown"

    static func log(_ sequence: UInt64) -> String { hexadecimal(sequence) + ".wal" }
    static func free(_ sequence: UInt64) -> String { hexadecimal(sequence) + ".free" }
    static func new(_ number: UInt64) -> String { hexadecimal(number) + ".new" }

    /// The sequence in the name of a log file; `nil` for any other name.
    static func sequence(of name: String) -> UInt64? {
        guard name.utf8.count == 20, name.hasSuffix(".wal") else { return nil }
        guard let sequence = UInt64(name.dropLast(4), radix: 16), log(sequence) == name else {
            return nil
        }
        return sequence
    }

    private static func hexadecimal(_ n: UInt64) -> String {
        let digits = String(n, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
