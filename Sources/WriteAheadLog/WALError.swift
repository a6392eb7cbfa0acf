package import Platform

/// Why the log did not do what was asked.
package enum WALError: Error, Equatable, CustomStringConvertible {
    /// Bytes that were durable once are not intact any more; nothing was changed.
    case damaged(file: String, offset: Int, remedy: String)
    /// Written by a later version of this program.
    case unsupportedFormat(file: String, version: UInt32)
    /// The owner could not take in a record that is intact.
    case rejected(file: String, offset: Int, reason: String)
    /// A write or fdatasync failed; the log never writes again.
    case poisoned(FileError)
    /// A file could not be opened, read or made.
    case file(FileError)
    case closed
    /// The file was given back with ``GroupCommitWAL/release(before:)``.
    case released(file: UInt64)
    /// One batch is larger than the log takes.
    case tooLarge(bytes: Int)

    package var description: String {
        switch self {
        case .damaged(let file, let offset, let remedy):
            "the write-ahead log is damaged in \(file) at byte \(offset): \(remedy)"
        case .unsupportedFormat(let file, let version):
            "\(file) has format version \(version), which this version cannot read"
        case .rejected(let file, let offset, let reason):
            "the record in \(file) at byte \(offset) makes no sense: \(reason)"
        case .poisoned(let error): "the write-ahead log stopped after an error: \(error)"
        case .file(let error): "\(error)"
        case .closed: "the write-ahead log is closed"
        case .released(let file): "write-ahead log file \(file) was released"
        case .tooLarge(let bytes): "a batch of \(bytes) bytes is more than the log takes at once"
        }
    }
}
