import Platform
import Testing

@Suite struct TimerQueueTests {
    private func deadlines(_ queue: inout TimerQueue, until now: Int64) -> [Int64] {
        var due: [Int64] = []
        while let timer = queue.popDue(at: now) { due.append(timer.deadline) }
        return due
    }

    @Test func `an empty queue has nothing due`() {
        var queue = TimerQueue()
        #expect(queue.nextDeadline == nil)
        #expect(queue.popDue(at: .max) == nil)
    }

    @Test func `timers come out by deadline, and none before its time`() {
        var queue = TimerQueue()
        for deadline: Int64 in [5, 3, 9, 1, 7] {
            queue.insert(LoopTimer(deadline: deadline) {})
        }
        #expect(queue.nextDeadline == 1)
        #expect(deadlines(&queue, until: 0) == [])
        #expect(deadlines(&queue, until: 5) == [1, 3, 5])
        #expect(queue.nextDeadline == 7)
        #expect(deadlines(&queue, until: .max) == [7, 9])
    }

    @Test func `equal deadlines come out in the order they were set`() {
        var queue = TimerQueue()
        let order = Box<[Int]>([])
        for number in 0..<100 {
            queue.insert(LoopTimer(deadline: Int64(number % 3)) { order.value.append(number) })
        }
        while let timer = queue.popDue(at: 2) { timer.fire() }
        let expected = (0..<3).flatMap { rest in (0..<100).filter { $0 % 3 == rest } }
        #expect(order.value == expected)
    }

    @Test func `a queue agrees with a sorted list`() {
        var generator = SeededGenerator(seed: 11)
        var queue = TimerQueue()
        var model: [Int64] = []
        for _ in 0..<5_000 {
            if generator.chance(2, in: 3) {
                let deadline = Int64(generator.below(1_000))
                queue.insert(LoopTimer(deadline: deadline) {})
                model.append(deadline)
                model.sort()
            } else {
                let now = Int64(generator.below(1_000))
                let due = queue.popDue(at: now)?.deadline
                #expect(due == model.first.flatMap { $0 <= now ? $0 : nil })
                if due != nil { model.removeFirst() }
            }
            #expect(queue.nextDeadline == model.first)
        }
    }

    @Test func `a timer fires once, and not at all when it is cancelled`() {
        let count = Box(0)
        let timer = LoopTimer(deadline: 0) { count.value += 1 }
        timer.fire()
        timer.fire()
        let cancelled = LoopTimer(deadline: 0) { count.value += 1 }
        cancelled.cancel()
        cancelled.fire()
        timer.cancel()
        #expect(count.value == 1)
    }
}
