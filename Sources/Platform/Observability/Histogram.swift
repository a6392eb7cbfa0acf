import Synchronization

/// Amounts in buckets whose bounds double, counted without a lock.
///
/// The bounds are `first`, `2 × first`, … in the unit that is recorded; each bucket holds what is
/// at most its bound, and the last what is beyond all bounds.
public final class Histogram: Sendable {
    private let first: UInt64
    private let boundCount: Int
    /// How many recorded units make one that is printed.
    private let divisor: Double
    private let cells: Cells

    /// Buckets, then the sum.
    private struct Cells: @unchecked Sendable {
        // Unchecked: atomics, freed by the histogram's end.
        let pointer: UnsafeMutablePointer<Atomic<UInt64>>
        let count: Int
    }

    public init(first: Int, bounds: Int, divisor: Double = 1) {
        precondition(first > 0 && (1...62).contains(bounds), "\(bounds) bounds from \(first)")
        self.first = UInt64(first)
        boundCount = bounds
        self.divisor = divisor
        let pointer = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: bounds + 2)
        for index in 0..<bounds + 2 { (pointer + index).initialize(to: Atomic(0)) }
        cells = Cells(pointer: pointer, count: bounds + 2)
    }

    deinit {
        cells.pointer.deinitialize(count: cells.count)
        cells.pointer.deallocate()
    }

    public func record(_ amount: Int64) {
        let value = UInt64(max(0, amount))
        var bucket = 0
        if value > first {
            let ratio = (value - 1) / first
            bucket = min(boundCount, UInt64.bitWidth - ratio.leadingZeroBitCount)
        }
        cells.pointer[bucket].add(1, ordering: .relaxed)
        cells.pointer[boundCount + 1].add(value, ordering: .relaxed)
    }

    /// Upper bounds with cumulative counts, the count of all, and the sum.
    var snapshot: (buckets: [(bound: Double, count: UInt64)], total: UInt64, sum: Double) {
        var total: UInt64 = 0
        var rows: [(Double, UInt64)] = []
        for index in 0...boundCount {
            total += cells.pointer[index].load(ordering: .relaxed)
            if index < boundCount { rows.append((Double(first << UInt64(index)) / divisor, total)) }
        }
        let sum = cells.pointer[boundCount + 1].load(ordering: .relaxed)
        return (rows, total, Double(sum) / divisor)
    }
}

/// Times in nanoseconds, printed in seconds: buckets that double from 2 µs to about 34 s.
public struct LatencyHistogram: Sendable {
    let histogram = Histogram(first: 2_000, bounds: 25, divisor: 1e9)

    public init() {}

    public func record(_ nanoseconds: Int64) { histogram.record(nanoseconds) }
}
