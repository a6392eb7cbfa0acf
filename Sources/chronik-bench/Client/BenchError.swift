/// Why a run could not be made.
enum BenchError: Error, CustomStringConvertible {
    case usage(String)
    case network(String)
    /// The broker said no, by Kafka's name of the reason.
    case broker(String)
    case protocolViolation(String)
    case file(String)
    /// Raft groups did not do what they must.
    case raft(String)

    var description: String {
        switch self {
        case .usage(let text), .network(let text), .broker(let text), .file(let text),
            .raft(let text):
            text
        case .protocolViolation(let text): "the broker's answer makes no sense: \(text)"
        }
    }

    /// EX_USAGE for a wrong command line, 1 for a run that failed.
    var exitCode: Int32 {
        if case .usage = self { 64 } else { 1 }
    }
}
