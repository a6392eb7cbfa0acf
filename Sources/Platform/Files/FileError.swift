import Glibc

/// A file operation that the system refused.
public struct FileError: Error, Equatable, CustomStringConvertible {
    public enum Reason: Equatable, Sendable {
        case notFound
        /// The disk, the quota or the file size limit is reached; nothing is lost, try again later.
        case noSpace
        case alreadyExists
        /// Held by another process.
        case locked
        case tooLarge
        /// The device failed; data may be lost.
        case inputOutput
        /// The simulated machine lost power; nothing works until it is restarted.
        case powerCut
        case other(errno: Int32)
    }

    public let reason: Reason
    public let operation: String
    public let path: String

    public init(_ reason: Reason, operation: String, path: String) {
        self.reason = reason
        self.operation = operation
        self.path = path
    }

    public init(errno code: Int32, operation: String, path: String) {
        let reason: Reason =
            switch code {
            case ENOENT: .notFound
            case ENOSPC, EDQUOT, EFBIG: .noSpace
            case EEXIST: .alreadyExists
            case EWOULDBLOCK: .locked
            case EIO: .inputOutput
            default: .other(errno: code)
            }
        self.init(reason, operation: operation, path: path)
    }

    public var description: String { "\(operation) \(path): \(reasonText)" }

    private var reasonText: String {
        switch reason {
        case .notFound: "no such file or directory"
        case .noSpace: "no space left on the disk"
        case .alreadyExists: "exists already"
        case .locked: "in use by another process"
        case .tooLarge: "larger than it may be"
        case .inputOutput: "the device reported an input/output error"
        case .powerCut: "the machine lost power"
        case .other(let code): String(cString: strerror(code))
        }
    }
}
