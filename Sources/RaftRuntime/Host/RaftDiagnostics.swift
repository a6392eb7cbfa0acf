import Platform

/// What the library says on standard error: a line for what an operator should know, never one for
/// each request.
public enum RaftDiagnostics {
    public enum Level: Sendable {
        case debug, info, warning, error
    }

    /// Lines below this level are not written; `info` unless set.
    public static func setLevel(_ level: Level) {
        let minimum: Logger.Level =
            switch level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        Logger.configure(level: minimum, format: .text)
    }
}
