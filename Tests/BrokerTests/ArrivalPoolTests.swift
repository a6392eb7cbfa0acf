import Synchronization
import Testing

@testable import Broker

@Suite struct ArrivalPoolTests {
    @Test func `at the limit everybody waits until there is room`() async {
        let budget = MemoryBudget(limit: 4_000)
        budget.add(3_000)
        #expect(budget.isExhausted)
        async let waited: Void = budget.waitForRoom()
        budget.add(-1)
        await waited
        #expect(!budget.isExhausted)
    }

    @Test func `nobody waits for memory that cannot be given back`() async {
        let budget = MemoryBudget(limit: 4_000)
        budget.add(3_000)
        async let waited: Void = budget.waitForRoom()
        budget.setStuck(true)
        await waited
        #expect(!budget.isExhausted)
        budget.setStuck(false)
        #expect(budget.isExhausted)
    }

    @Test func `large requests do not take the room of ordinary ones`() async {
        let budget = MemoryBudget(limit: 64 << 20)
        #expect(budget.pool(for: 1 << 20) === budget.pool(for: 2 << 20))
        #expect(budget.pool(for: 1 << 20) !== budget.pool(for: 8 << 20))
        #expect(!budget.isExhausted)
    }

    @Test func `in a full pool one request goes on`() async {
        let pool = ArrivalPool(limit: 1_000)
        let first = ArrivalPool.Arrival(length: 5_000)
        #expect(await pool.received(999, of: first) > 0)
        #expect(!first.isPrivileged)
        #expect(await pool.received(3_000, of: first) > 0)
        #expect(first.isPrivileged)
        #expect(!pool.isWaitedFor(first))
        pool.end(first)
        let second = ArrivalPool.Arrival(length: 5_000)
        _ = await pool.received(10, of: second)
        #expect(!second.isPrivileged)
    }

    private final class Order: Sendable {
        let places = Mutex<[Int]>([])
    }

    @Test func `the next to go on is the one with the least to come`() async {
        let pool = ArrivalPool(limit: 1_000)
        let first = ArrivalPool.Arrival(length: 5_000)
        _ = await pool.received(2_000, of: first)
        let order = Order()
        await withTaskGroup(of: Void.self) { group in
            for (place, length) in [9_000, 3_000, 6_000].enumerated() {
                group.addImmediateTask {
                    let arrival = ArrivalPool.Arrival(length: length)
                    _ = await pool.received(1_500, of: arrival)
                    order.places.withLock { $0.append(place) }
                    pool.end(arrival)
                }
            }
            #expect(pool.isWaitedFor(first))
            pool.end(first)
        }
        #expect(order.places.withLock { $0 } == [1, 2, 0])
    }
}
