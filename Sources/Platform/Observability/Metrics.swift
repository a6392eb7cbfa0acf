import Synchronization

/// A number that only grows.
public final class Counter: Sendable {
    private let value = Atomic<UInt64>(0)
    public init() {}
    public func increment(by n: Int = 1) { value.add(UInt64(n), ordering: .relaxed) }
    public var current: UInt64 { value.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
    private let value = Atomic<Int64>(0)
    public init() {}
    public func set(_ n: Int) { value.store(Int64(n), ordering: .relaxed) }
    public func add(_ n: Int) { value.add(Int64(n), ordering: .relaxed) }
    public var current: Int64 { value.load(ordering: .relaxed) }
}
