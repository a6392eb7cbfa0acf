import Platform
import Testing

@testable import Broker

@Suite(.timeLimit(.minutes(10))) struct MemoryBudgetTests {
    /// Three quarters, 100 bytes, are for what is held.
    private let budget = MemoryBudget(limit: 134)
    private let loop = TestNode.platform.loops[0]

    @Test func `what is added and taken is counted`() {
        budget.add(60)
        #expect(budget.heldBytes == 60 && !budget.isExhausted)
        budget.add(40)
        #expect(budget.isExhausted)
        budget.add(-1)
        #expect(budget.heldBytes == 99 && !budget.isExhausted)
    }

    @Test func `with room nobody waits`() async {
        budget.add(99)
        await budget.waitForRoom()
    }

    @Test func `whoever waits goes on once there is room`() async {
        budget.add(150)
        let passed = Counter()
        let begun = Counter()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<10 {
                group.addTask(executorPreference: loop) {
                    begun.increment()
                    await budget.waitForRoom()
                    passed.increment()
                }
            }
            // Every turn of the loop takes them further, until all of them wait.
            group.addTask(executorPreference: loop) {
                while begun.current < 10 { await loop.sleep(nanoseconds: 0) }
                await loop.sleep(nanoseconds: 0)
                budget.add(-40)
                #expect(budget.isExhausted && passed.current == 0)
                budget.add(-20)
            }
        }
        #expect(passed.current == 10)
    }

    @Test func `no wake-up is lost between many that wait and many that give back`() async {
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<500 {
                        await budget.waitForRoom()
                        budget.add(40)
                        budget.add(-40)
                    }
                }
            }
        }
        #expect(budget.heldBytes == 0)
    }
}
