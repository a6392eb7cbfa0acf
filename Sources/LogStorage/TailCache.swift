/// The memory that the partitions of one event loop keep their newest batches in.
///
/// A batch that is not yet in a segment stays; those that are leave oldest first when the budget
/// is exceeded, so that a consumer a little behind is still served from memory.
package final class TailCache: @unchecked Sendable {
    // Unchecked: confined to the loop whose partitions use it.
    package let budget: Int
    package private(set) var bytes = 0
    package private(set) var unflushedBytes = 0
    private var evictable: [(log: ObjectIdentifier, evict: () -> Int)] = []
    private var firstEvictable = 0

    package init(budget: Int) {
        precondition(budget > 0, "a cache of \(budget) bytes")
        self.budget = budget
    }

    /// Whether more is unflushed than should be: flush, and take in less.
    package var isOverBudget: Bool { unflushedBytes > budget / 2 }

    func added(_ count: Int) {
        bytes += count
        unflushedBytes += count
        evictIfNeeded()
    }

    /// Batches of a log have reached their segment; `evict` drops them and returns their size.
    func flushed(_ count: Int, of log: ObjectIdentifier, evict: @escaping () -> Int) {
        unflushedBytes -= count
        evictable.append((log, evict))
        evictIfNeeded()
    }

    /// A log is gone, with so much of it here.
    func removed(_ log: ObjectIdentifier, bytes gone: Int, unflushed: Int) {
        bytes -= gone
        unflushedBytes -= unflushed
        evictable.removeFirst(firstEvictable)
        firstEvictable = 0
        evictable.removeAll { $0.log == log }
    }

    private func evictIfNeeded() {
        while bytes > budget, firstEvictable < evictable.count {
            bytes -= evictable[firstEvictable].evict()
            firstEvictable += 1
        }
        if firstEvictable > 256 && firstEvictable > evictable.count / 2 {
            evictable.removeFirst(firstEvictable)
            firstEvictable = 0
        }
    }
}
