import Platform
import Testing

@Suite struct QueueTests {
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `what goes in comes out in its order`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var queue = Queue<Int>()
        var (put, taken) = (0, 0)
        for _ in 0..<200 {
            for _ in 0..<generator.below(60) {
                queue.append(put)
                put += 1
            }
            for _ in 0..<generator.below(60) {
                #expect(queue.first == (taken < put ? taken : nil))
                #expect(queue.popFirst() == (taken < put ? taken : nil))
                taken = min(taken + 1, put)
            }
            #expect(queue.count == put - taken)
            #expect(queue.isEmpty == (put == taken))
        }
    }

    @Test func `what was taken is let go of at once`() {
        final class Element {}
        var queue = Queue<Element>()
        weak var first: Element?
        do {
            let element = Element()
            first = element
            queue.append(element)
            queue.append(Element())
        }
        #expect(first != nil)
        queue.popFirst()
        #expect(first == nil && queue.count == 1)
    }
}
