/// An entry's place, or where a log ends.
///
/// Ordered as logs are compared in elections (section 5.4.1): the later term, and within one term
/// the longer log.
public struct LogPosition: Hashable, Comparable, Sendable {
    public var term: Term
    public var index: LogIndex

    /// Before every entry.
    public static let zero = LogPosition(term: .zero, index: .zero)

    public init(term: Term, index: LogIndex) {
        self.term = term
        self.index = index
    }

    public static func < (a: LogPosition, b: LogPosition) -> Bool {
        (a.term, a.index) < (b.term, b.index)
    }
}
