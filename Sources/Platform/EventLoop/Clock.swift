/// The two clocks a node may read.
public protocol Clock: Sendable {
    /// Nanoseconds since an arbitrary moment; never goes back. For timeouts and measurements.
    var monotonicNanoseconds: Int64 { get }
    /// Milliseconds since 1970 UTC; may jump. For timestamps that people and clients see.
    var wallMilliseconds: Int64 { get }
}

extension Int64 {
    /// Nanoseconds in that many milliseconds.
    public static func milliseconds(_ n: Int64) -> Int64 { n * 1_000_000 }
    public static func microseconds(_ n: Int64) -> Int64 { n * 1_000 }
    public static func seconds(_ n: Int64) -> Int64 { n * 1_000_000_000 }
}
