/// Counts of durations in nanoseconds, in bounded memory: log-linear buckets.
///
/// Values below 256 have a bucket each; above, every power of two is cut into 128 buckets, so that
/// a value read back is less than 1/128 above the one recorded. From 2^41 ns (36 minutes) on, all
/// values share the last bucket; the maximum is kept exactly.
struct QuantileHistogram: Sendable {
    private static let subBucketBits = 7
    private static let largestBits = 41
    private static let bucketCount = (largestBits - subBucketBits + 1) << subBucketBits

    private var counts = [UInt64](repeating: 0, count: bucketCount)
    private(set) var count: UInt64 = 0
    private(set) var maximum: Int64 = 0
    private var sum = 0.0

    init() {}

    var mean: Double { count == 0 ? 0 : sum / Double(count) }

    mutating func record(_ nanoseconds: Int64, times: UInt64 = 1) {
        // A clock that two threads read may disagree by a little; no duration is below zero.
        let value = max(0, nanoseconds)
        counts[Self.bucket(of: value)] += times
        count += times
        maximum = max(maximum, value)
        sum += Double(value) * Double(times)
    }

    mutating func merge(_ other: QuantileHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        maximum = max(maximum, other.maximum)
        sum += other.sum
    }

    /// What was recorded since `earlier`, a copy made before; the maximum is that of all.
    func since(_ earlier: QuantileHistogram) -> QuantileHistogram {
        var difference = self
        for index in counts.indices { difference.counts[index] -= earlier.counts[index] }
        difference.count -= earlier.count
        difference.sum -= earlier.sum
        return difference
    }

    /// The least value that `fraction` of all values do not exceed, rounded up to its bucket's end.
    func quantile(_ fraction: Double) -> Int64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((Double(count) * fraction).rounded(.up)))
        var seen: UInt64 = 0
        for (index, inBucket) in counts.enumerated() {
            seen += inBucket
            if seen >= wanted { return min(Self.upperBound(of: index), maximum) }
        }
        return maximum
    }

    private static func bucket(of value: Int64) -> Int {
        let bits = Int64.bitWidth - value.leadingZeroBitCount
        let shift = max(0, bits - subBucketBits - 1)
        guard bits <= largestBits else { return bucketCount - 1 }
        return (shift << subBucketBits) + Int(value >> Int64(shift))
    }

    private static func upperBound(of index: Int) -> Int64 {
        // Buckets of the first two powers are one wide, those of each further twice the last.
        let shift = max(0, (index >> subBucketBits) - 1)
        let lower = Int64(index - (shift << subBucketBits)) << Int64(shift)
        return lower + (1 << Int64(shift)) - 1
    }
}
