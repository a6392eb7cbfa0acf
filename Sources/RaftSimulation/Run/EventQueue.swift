/// What happens next; each of it is one event.
enum Action {
    /// A message arrives; it waits in this slot.
    case deliver(slot: Int)
    /// The sync that a replica's disk began is done.
    case synced(place: Int, life: Int)
    case apply(place: Int, life: Int)
    case tick(place: Int, life: Int)
    /// The log of a replica, which could not be read at once, can be.
    case readable(place: Int, life: Int)
    case restart(place: Int)
    /// A full disk has space again, a slow one is fast again.
    case diskRecovered(place: Int)
    /// A client proposes or reads.
    case client
    /// Something goes wrong, or is put right.
    case trouble
}

/// Actions in the order of their times; those of the same time in the order they came.
struct EventQueue {
    private struct Item {
        var time: Int
        var order: Int
        var action: Action

        static func < (left: Item, right: Item) -> Bool {
            left.time < right.time || (left.time == right.time && left.order < right.order)
        }
    }

    private var heap: [Item] = []
    private var nextOrder = 0

    var count: Int { heap.count }

    mutating func add(_ action: Action, at time: Int) {
        var hole = heap.count
        let item = Item(time: time, order: nextOrder, action: action)
        nextOrder += 1
        heap.append(item)
        while hole > 0 {
            let parent = (hole - 1) / 2
            if heap[parent] < item { break }
            heap[hole] = heap[parent]
            hole = parent
        }
        heap[hole] = item
    }

    mutating func removeFirst() -> (time: Int, action: Action)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if heap.isEmpty { return (first.time, first.action) }
        var hole = 0
        while true {
            var child = 2 * hole + 1
            if child >= heap.count { break }
            if child + 1 < heap.count && heap[child + 1] < heap[child] { child += 1 }
            if last < heap[child] { break }
            heap[hole] = heap[child]
            hole = child
        }
        heap[hole] = last
        return (first.time, first.action)
    }
}
