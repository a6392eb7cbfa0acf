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
        heap.append(Slot(deadline: timer.deadline, order: nextOrder, timer: timer))
        nextOrder += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// The earliest timer due at `now`, removed; `nil` when none is.
    public mutating func popDue(at now: Int64) -> LoopTimer? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown()
        }
        return first.timer
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var least = parent
            let child = 2 * parent + 1
            if child < heap.count && heap[child] < heap[least] { least = child }
            if child + 1 < heap.count && heap[child + 1] < heap[least] { least = child + 1 }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
