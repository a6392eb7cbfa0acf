import Platform
import Raft
import RaftRuntime

/// Hands the leaderships of one loop to other nodes while this node's disk has no room.
///
/// The other nodes may be no better off: a group is tried again later each time, so that it does
/// not travel in circles. Once there is room, nothing is remembered.
struct DiskFullRetreat {
    private struct Attempts {
        var nextSweep: Int
        var pause: Int
    }
    private static let firstPause = 10
    private static let lastPause = 600

    private var attempts: [UInt64: Attempts] = [:]

    /// There is room.
    mutating func end() {
        if !attempts.isEmpty { attempts = [:] }
    }

    /// Whether it is time to try to hand a group over; counts that as an attempt.
    mutating func isDue(_ group: UInt64, at sweep: Int) -> Bool {
        guard var known = attempts[group] else {
            attempts[group] = Attempts(nextSweep: sweep + Self.firstPause, pause: Self.firstPause)
            return true
        }
        guard sweep >= known.nextSweep else { return false }
        known.pause = min(2 * known.pause, Self.lastPause)
        known.nextSweep = sweep + known.pause
        attempts[group] = known
        return true
    }

    /// Who can lead at once: of the voters that keep up, the one that has most.
    static func heir(of status: RaftStatus) -> ReplicaID? {
        status.followersThatKeepUp.max { ($0.match, $1.id) < ($1.match, $0.id) }?.id
    }
}
