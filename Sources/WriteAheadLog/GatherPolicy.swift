/// Decides whether a group commit starts at once or waits for requests that are on their way.
///
/// Producers that wait for their answer come back soon after a group is durable. The policy
/// remembers how many were seen at work at once: the records of a group and those that came while
/// it was written. When they were many it expects as many again, and lets the next group wait until
/// three quarters of them are there; the others keep the processors busy during the fdatasync. One
/// timeout is enough to forget: the expectation drops to what was there. A lone producer, and
/// whoever comes after a pause, never waits.
struct GatherPolicy {
    enum Decision: Equatable {
        case write
        /// Write when ``isEnough(records:bytes:)`` or after that many nanoseconds.
        case wait(nanoseconds: Int64)
    }

    /// Below this many records there is nothing to gain.
    private static let many = 4

    private let maxWait: Int64
    private let enoughBytes: Int
    private(set) var expected = 0
    private var lastCommit = Int64.min

    init(maxWaitNanoseconds: Int64, enoughBytes: Int) {
        maxWait = maxWaitNanoseconds
        self.enoughBytes = enoughBytes
    }

    init(_ profile: WALProfile) {
        self.init(
            maxWaitNanoseconds: profile.maxWaitNanoseconds,
            enoughBytes: profile.maxGroupBytes / 4
        )
    }

    func isEnough(records: Int, bytes: Int) -> Bool {
        expected < Self.many || records >= expected - expected / 4 || bytes >= enoughBytes
    }

    /// What to do with what is pending, not having waited yet.
    mutating func decide(records: Int, bytes: Int, now: Int64) -> Decision {
        if lastCommit == .min || now - lastCommit > 4 * maxWait { expected = 0 }
        return isEnough(records: records, bytes: bytes) ? .write : .wait(nanoseconds: maxWait)
    }

    /// The wait is over and not enough has come.
    mutating func timedOut(records: Int) { expected = records }

    /// A group of so many records is durable, and so many have come meanwhile.
    mutating func committed(records: Int, pending: Int, now: Int64) {
        expected = max(expected, records + pending)
        lastCommit = now
    }
}
