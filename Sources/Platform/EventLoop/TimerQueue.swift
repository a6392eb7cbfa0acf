/// Timers by deadline, first made first among equals: a binary heap.
public struct TimerQueue {
    private struct Slot {
        let deadline: Int64
        let order: UInt64
        let timer: LoopTimer

        func precedes(_ other: borrowing Slot) -> Bool {
            deadline != other.deadline ? deadline < other.deadline : order < other.order
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
        heap.withUnsafeMutableBufferPointer { heap in
            var place = heap.count - 1
            while place > 0 {
                let parent = (place - 1) / 2
                guard slot.precedes(heap[parent]) else { break }
                heap.swapAt(place, parent)
                place = parent
            }
        }
    }

    /// The earliest timer due at `now`, removed; `nil` when none is.
    public mutating func popDue(at now: Int64) -> LoopTimer? {
        guard let deadline = nextDeadline, deadline <= now else { return nil }
        heap.swapAt(0, heap.count - 1)
        let first = heap.removeLast()
        heap.withUnsafeMutableBufferPointer { heap in
            var place = 0
            while true {
                var least = place
                for child in 2 * place + 1..<2 * place + 3
                where child < heap.count && heap[child].precedes(heap[least]) {
                    least = child
                }
                if least == place { return }
                heap.swapAt(place, least)
                place = least
            }
        }
        return first.timer
    }
}
