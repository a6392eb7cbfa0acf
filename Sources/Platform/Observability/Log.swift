import Glibc
import Synchronization

/// Structured log lines on standard error, as text or as one JSON object a line.
///
/// Never used on the data path. Lines that a peer can cause go through a ``LogLimiter``.
public struct Logger: Sendable {
    public enum Level: Int, Sendable, CaseIterable, Comparable {
        case trace, debug, info, warning, error

        public static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }

        public init?(name: String) {
            guard let level = Level.allCases.first(where: { "\($0)" == name }) else { return nil }
            self = level
        }
    }

    public enum Format: String, Sendable { case text, json }

    private static let minimum = Atomic(Level.info.rawValue)
    private static let json = Atomic(false)

    public static func configure(level: Level, format: Format) {
        minimum.store(level.rawValue, ordering: .relaxed)
        json.store(format == .json, ordering: .relaxed)
    }

    private let label: String

    public init(_ label: String) { self.label = label }

    public func debug(
        _ message: @autoclosure () -> String,
        _ fields: KeyValuePairs<String, String> = [:]
    ) {
        log(.debug, message, fields)
    }

    public func info(
        _ message: @autoclosure () -> String,
        _ fields: KeyValuePairs<String, String> = [:]
    ) {
        log(.info, message, fields)
    }

    public func warning(
        _ message: @autoclosure () -> String,
        _ fields: KeyValuePairs<String, String> = [:]
    ) {
        log(.warning, message, fields)
    }

    public func error(
        _ message: @autoclosure () -> String,
        _ fields: KeyValuePairs<String, String> = [:]
    ) {
        log(.error, message, fields)
    }

    private func log(
        _ level: Level,
        _ message: () -> String,
        _ fields: KeyValuePairs<String, String>
    ) {
        guard level.rawValue >= Self.minimum.load(ordering: .relaxed) else { return }
        let line =
            Self.json.load(ordering: .relaxed)
            ? jsonLine(level, message(), fields) : textLine(level, message(), fields)
        // One write a line, so that lines of several threads never mix.
        var bytes = line
        bytes.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    private func textLine(
        _ level: Level,
        _ message: String,
        _ fields: KeyValuePairs<String, String>
    ) -> String {
        var line = "\(Self.timestamp()) \("\(level)".uppercased()) \(label): \(message)"
        for (key, value) in fields { line += " \(key)=\(value)" }
        return line + "\n"
    }

    private func jsonLine(
        _ level: Level,
        _ message: String,
        _ fields: KeyValuePairs<String, String>
    ) -> String {
        var line = "{\"time\":\"\(Self.timestamp())\",\"level\":\"\(level)\",\"logger\":"
        line += JSONText.quoted(label) + ",\"message\":" + JSONText.quoted(message)
        for (key, value) in fields {
            line += "," + JSONText.quoted(key) + ":" + JSONText.quoted(value)
        }
        return line + "}\n"
    }

    /// Now, UTC, ISO 8601 with milliseconds.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        let digits = { (value: Int, width: Int) in
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        let date =
            "\(parts.tm_year + 1900)-\(digits(Int(parts.tm_mon) + 1, 2))-\(digits(Int(parts.tm_mday), 2))"
        let time =
            "\(digits(Int(parts.tm_hour), 2)):\(digits(Int(parts.tm_min), 2)):\(digits(Int(parts.tm_sec), 2))"
        return "\(date)T\(time).\(digits(now.tv_nsec / 1_000_000, 3))Z"
    }
}

/// Text as a JSON string.
public enum JSONText {
    public static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}

/// Lets one line through a period, and counts what it held back.
public final class LogLimiter: Sendable {
    private struct State {
        var nextAllowed = Int64.min
        var suppressed = 0
    }

    private let period: Int64
    private let clock: any Clock
    private let state = Mutex(State())

    public init(every nanoseconds: Int64, clock: any Clock) {
        period = nanoseconds
        self.clock = clock
    }

    /// Calls `emit` with the number of lines held back since the last, if it is time for one.
    public func limited(_ emit: (_ suppressed: Int) -> Void) {
        let now = clock.monotonicNanoseconds
        let suppressed: Int? = state.withLock { state in
            guard now >= state.nextAllowed else {
                state.suppressed += 1
                return nil
            }
            state.nextAllowed = now + period
            defer { state.suppressed = 0 }
            return state.suppressed
        }
        if let suppressed { emit(suppressed) }
    }
}
