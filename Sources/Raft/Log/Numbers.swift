/// The place of an entry in the log; the first entry is at 1, and 0 lies before all of them.
@frozen
public struct LogIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var rawValue: UInt64

    /// The place before the first entry.
    public static let zero = LogIndex(0)

    /// No entry is ever this far: what an empty quorum has committed.
    public static let max = LogIndex(.max)

    /// The highest index accepted from outside, far enough from overflow to add to.
    static let limit = LogIndex(1 << 62)

    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable
    public static func < (left: LogIndex, right: LogIndex) -> Bool {
        left.rawValue < right.rawValue
    }

    @inlinable
    public static func + (left: LogIndex, right: Int) -> LogIndex {
        precondition(right >= 0, "\(left) + \(right)")
        return LogIndex(left.rawValue + UInt64(truncatingIfNeeded: right))
    }

    @inlinable
    public static func - (left: LogIndex, right: Int) -> LogIndex {
        precondition(right >= 0, "\(left) - \(right)")
        return LogIndex(left.rawValue - UInt64(truncatingIfNeeded: right))
    }

    /// How many entries lie from this one up to, not including, the other.
    @inlinable
    public func distance(to other: LogIndex) -> Int {
        Int(truncatingIfNeeded: other.rawValue &- rawValue)
    }

    public var description: String { "\(rawValue)" }
}

/// A logical time with at most one leader in it (Raft thesis, 3.3); 0 comes before the first.
@frozen
public struct Term: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var rawValue: UInt64

    public static let zero = Term(0)

    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable
    public static func < (left: Term, right: Term) -> Bool { left.rawValue < right.rawValue }

    /// The term a candidate campaigns in.
    @inlinable
    public var next: Term { Term(rawValue + 1) }

    public var description: String { "\(rawValue)" }
}

/// The name of a replica within its group; unique for ever, and never 0.
@frozen
public struct ReplicaID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var rawValue: UInt64

    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable
    public static func < (left: ReplicaID, right: ReplicaID) -> Bool {
        left.rawValue < right.rawValue
    }

    public var description: String { "\(rawValue)" }
}
