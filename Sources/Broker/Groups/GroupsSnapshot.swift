import Bytes
import Coordinators

/// When and how far the groups of one partition of `__consumer_offsets` are written to its log once
/// more, so that the log can begin there.
///
/// They are written a part at a time, and a part only while everything in the log is applied: what a
/// record says is what was so at its place, and no commit that was under way is undone by it. So
/// what comes in while one is awaited is held back until it has been appended, about as long as one
/// commit takes.
///
///     resting ── many records, few things ──► awaited ◄── the part is committed, and there is more
///        ▲                                      │
///        │                                      │ nothing is under way, all is applied
///        │                                      ▼
///        └── all committed: the log is cut ── written
///
/// A leader that ends in between, or a part that fails, leaves records that say nothing new.
struct GroupsSnapshot {
    /// Records that a snapshot saves, for each that it writes.
    private static let worth: Int64 = 4
    /// Bytes of a part, unless a single group has more.
    private static let partBytes = 256 << 10

    /// Between two snapshots, at least.
    let leastRecords: Int64
    /// The end of the log from which on it is looked at.
    private var nextLook: Int64
    /// Groups that are to be written yet, the next one last.
    private var left: [String] = []
    /// Where the first part is.
    private var start: Int64?
    /// The next part is to be appended as soon as may be; until then other writes are held back.
    private(set) var isAwaited = false
    private var isUnderWay = false

    init(leastRecords: Int64) {
        self.leastRecords = leastRecords
        nextLook = leastRecords
    }

    /// Something was committed: begins if it is worth it.
    mutating func consider(logStart: Int64, logEnd: Int64, _ coordinator: GroupCoordinatorShard) {
        guard !isUnderWay, logEnd >= nextLook else { return }
        nextLook = logStart + max(leastRecords, Self.worth * Int64(coordinator.recordCount))
        guard logEnd >= nextLook else { return }
        isUnderWay = true
        isAwaited = true
        left = coordinator.list().map(\.id).reversed()
    }

    /// The next part: of all groups that are left, as many as make one.
    mutating func nextPart(of coordinator: GroupCoordinatorShard) -> [CoordinatorRecord] {
        isAwaited = false
        var records: [CoordinatorRecord] = []
        var bytes = 0
        while bytes < Self.partBytes, let group = left.popLast() {
            for record in coordinator.records(of: group) {
                bytes += record.key.count + (record.value?.count ?? 0)
                records.append(record)
            }
        }
        return records
    }

    /// The part at that offset is committed.
    ///
    /// - Returns: Where the log may begin, if that was all.
    mutating func committed(at offset: Int64) -> Int64? {
        let start = start ?? offset
        self.start = start
        isAwaited = !left.isEmpty
        return isAwaited ? nil : start
    }

    /// It is over, well or not; another after so many more records.
    mutating func end(logEnd: Int64) {
        (left, start, isAwaited, isUnderWay) = ([], nil, false, false)
        nextLook = logEnd + leastRecords
    }
}
