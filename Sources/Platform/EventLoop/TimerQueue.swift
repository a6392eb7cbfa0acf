/// Timers by deadline, first made first among equals: a binary heap.
public struct TimerQueue {
    private struct Slot {
        let deadline: Int64
        let order: UInt64
        let timer: LoopTimer

        static func < (a: Slot, b: Slot) -> Bool {
            a.deadline != b.deadline ? a.deadline < b.deadline : a.order < b.order
        }
    }

    private var heap: [Slot] = []
    private var nextOrder: UInt64 = 0

    public init() {}

    public var nextDeadline: Int64? { heap.first?.deadline }

    public mutating func insert(_ timer: LoopTimer) {
        let slot = Slot(deadline: timer.deadline, order: nextOrder, timer: timer)
        nextOrder += 1
        heap.append(slot)
        // A hole rises until the new one fits into it: each that is passed is moved once.
        heap.withUnsafeMutableBufferPointer { heap in
            guard let start = heap.baseAddress else { return }
            var hole = heap.count - 1
            guard hole > 0, slot < start[(hole - 1) / 2] else { return }
            (start + hole).deinitialize(count: 1)
            repeat {
                let parent = (hole - 1) / 2
                guard slot < start[parent] else { break }
                (start + hole).moveInitialize(from: start + parent, count: 1)
                hole = parent
            } while hole > 0
            (start + hole).initialize(to: slot)
        }
    }

    /// The earliest timer due at `now`, removed; `nil` when none is.
    public mutating func popDue(at now: Int64) -> LoopTimer? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty { sift(last) }
        return first.timer
    }

    /// Puts a slot in the place of the first, and down to where it belongs.
    private mutating func sift(_ slot: Slot) {
        heap.withUnsafeMutableBufferPointer { heap in
            guard let start = heap.baseAddress else { return }
            start.deinitialize(count: 1)
            var hole = 0
            while true {
                var least = 2 * hole + 1
                guard least < heap.count else { break }
                if least + 1 < heap.count, start[least + 1] < start[least] { least += 1 }
                guard start[least] < slot else { break }
                (start + hole).moveInitialize(from: start + least, count: 1)
                hole = least
            }
            (start + hole).initialize(to: slot)
        }
    }
}
