import KafkaProtocol
import Testing

@testable import KafkaHistory

/// Committed offsets, which are registers.
@Suite struct CommitTests {
    private struct Group {
        var events: [HistoryEvent] = []

        mutating func commit(
            _ phase: HistoryEvent.Phase,
            _ offset: Int64,
            by process: String = "m1"
        ) {
            add(.commit(phase, process: process, group: "g", Story.place, offset: offset))
        }

        mutating func asks(_ process: String = "m1") {
            add(.asksCommitted(process: process, group: "g"))
        }

        mutating func reads(_ offset: Int64, by process: String = "m1") {
            add(.committed(process: process, group: "g", Story.place, offset: offset))
        }

        private mutating func add(_ what: HistoryEvent.What) {
            events.append(HistoryEvent(time: 0, what))
        }

        var isRight: Bool {
            HistoryChecker.check(events).filter { $0.rule == .committedOffsetLost }.isEmpty
        }
    }

    @Test func `the last commit is read`() {
        var group = Group()
        group.commit(.invoke, 5)
        group.commit(.ok, 5)
        group.reads(5)
        #expect(group.isRight)
        group.reads(4)
        #expect(!group.isRight)
    }

    @Test func `a commit that was acknowledged is not forgotten`() {
        var group = Group()
        group.commit(.invoke, 5)
        group.commit(.ok, 5)
        group.reads(-1)
        #expect(!group.isRight)
    }

    @Test func `a commit without an answer may show or not`() {
        for offset: Int64 in [5, 8] {
            var group = Group()
            group.commit(.ok, 5)
            group.commit(.invoke, 8)
            group.commit(.unknown, 8)
            group.reads(offset)
            #expect(group.isRight)
        }
    }

    @Test func `a commit that was refused does not show`() {
        var group = Group()
        group.commit(.ok, 5)
        group.commit(.invoke, 8)
        group.commit(.fail, 8)
        group.reads(8)
        #expect(!group.isRight)
    }

    @Test func `a read beside a commit may give either`() {
        for offset: Int64 in [5, 8] {
            var group = Group()
            group.commit(.ok, 5)
            group.asks("m2")
            group.commit(.invoke, 8)
            group.commit(.ok, 8)
            group.reads(offset, by: "m2")
            #expect(group.isRight)
        }
    }

    @Test func `an older commit does not come back`() {
        var group = Group()
        group.commit(.ok, 5)
        group.commit(.ok, 8)
        group.asks("m2")
        group.reads(5, by: "m2")
        #expect(!group.isRight)
    }
}
