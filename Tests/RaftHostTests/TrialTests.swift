import Bytes
import Raft
import RaftRuntime
import RaftTesting
import Testing

@Suite struct `Trials of state machines` {
    private static func trial<Machine: StateMachine>(
        _ make: @escaping @Sendable () -> Machine
    ) -> StateMachineTrial<Machine> {
        StateMachineTrial(stateMachine: make) { number in
            .set("key \(number % 10)", "\(number)")
        }
    }

    @Test func `a good state machine passes`() throws {
        let trial = Self.trial { MemoryStateMachine() }
        var faults = [0, 0, 0]
        for seed in 1...5 as ClosedRange<UInt64> {
            let report = try trial.run(seed: seed)
            #expect(report.acknowledged == 200)
            faults[0] += report.powerCuts
            faults[1] += report.partitions
            faults[2] += report.compactions
        }
        #expect(faults.allSatisfy { $0 > 0 }, "\(faults)")
    }

    @Test func `one seed is one history`() throws {
        let trial = Self.trial { MemoryStateMachine() }
        let report = try trial.run(seed: 9)
        #expect(try trial.run(seed: 9) == report)
        #expect(try trial.run(seed: 10).trace != report.trace)
    }

    @Test func `a group of one passes`() throws {
        var trial = Self.trial { MemoryStateMachine() }
        trial.replicas = 1
        #expect(try trial.run(seed: 1).acknowledged == 200)
    }

    @Test(arguments: Flaw.allCases)
    func `a bad one is found out`(_ flaw: Flaw) {
        let trial = Self.trial { FlawedMachine(flaw) }
        #expect(throws: TrialViolation.self) {
            for seed in 1...5 as ClosedRange<UInt64> { try trial.run(seed: seed) }
        }
    }
}

/// What state machines get wrong.
enum Flaw: CaseIterable, Sendable {
    /// Answers depend on something that is not in the entry.
    case answersByChance
    case statesByChance
    case forgetsInSnapshot
    case standsStill
    case restoresElsewhere
}

final class FlawedMachine: StateMachine {
    private let flaw: Flaw
    private let map = MemoryStateMachine()
    private var shift = LogIndex.zero
    private let chance = UInt64.random(in: 0...UInt64.max)

    init(_ flaw: Flaw) { self.flaw = flaw }

    var lastApplied: LogIndex {
        switch flaw {
        case .standsStill: map.lastApplied > LogIndex(5) ? LogIndex(5) : map.lastApplied
        case .restoresElsewhere: map.lastApplied + (shift == .zero ? 0 : 1)
        default: map.lastApplied
        }
    }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        let answer = map.apply(entry)
        return flaw == .answersByChance ? ByteSlice("\(chance)") : answer
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        let whole = try map.snapshot(lastIndex: lastIndex, lastTerm: lastTerm)
        switch flaw {
        case .forgetsInSnapshot: return ByteSlice([0, 0, 0, 0])
        case .statesByChance: return ByteSlice(whole.array + [UInt8(truncatingIfNeeded: chance)])
        default: return whole
        }
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        shift = lastIndex
        try map.restore(snapshot, lastIndex: lastIndex, lastTerm: lastTerm)
    }
}
