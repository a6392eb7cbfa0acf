/// Why a program cannot start as it was told to: every problem found, one a line.
///
/// The caller prints ``message`` and exits with 78, `EX_CONFIG` of sysexits.h.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    package static let exitCode: Int32 = 78

    package let problems: [String]

    package init(_ problems: [String]) {
        precondition(!problems.isEmpty, "an error without a problem")
        self.problems = problems
    }

    package init(_ problem: String) { self.init([problem]) }

    package var message: String { problems.joined(separator: "\n") }
    package var description: String { message }
}
