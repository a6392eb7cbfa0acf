import Bytes
import Raft
import RaftRuntime

/// What all replicas of a trial have answered so far, and the first rule that was broken.
final class TrialLedger: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    let seed: UInt64
    private var answers: [LogIndex: ByteSlice] = [:]
    private(set) var violation: TrialViolation?

    init(seed: UInt64) { self.seed = seed }

    var entries: Int { answers.count }

    func broken(_ violation: TrialViolation) { if self.violation == nil { self.violation = violation } }

    func answered(_ answer: ByteSlice, to index: LogIndex) {
        if let known = answers[index] {
            if known != answer { broken(.answersDiffer(seed: seed, index: index)) }
        } else {
            answers[index] = answer.copied()
        }
    }

    func stands(at found: LogIndex, after index: LogIndex) {
        if found != index { broken(.lastAppliedIsWrong(seed: seed, index: index, found: found)) }
    }
}

/// A state machine under trial.
final class ObservedMachine<Machine: StateMachine>: StateMachine {
    private let machine: Machine
    private let ledger: TrialLedger

    init(_ machine: Machine, _ ledger: TrialLedger) {
        self.machine = machine
        self.ledger = ledger
    }

    var lastApplied: LogIndex { machine.lastApplied }

    func apply(_ entry: RaftEntry) -> ByteSlice {
        let answer = machine.apply(entry)
        ledger.stands(at: machine.lastApplied, after: entry.index)
        ledger.answered(answer, to: entry.index)
        return answer
    }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        do {
            return try machine.snapshot(lastIndex: lastIndex, lastTerm: lastTerm)
        } catch {
            ledger.broken(.snapshotFailed(seed: ledger.seed, reason: "\(error)"))
            throw error
        }
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        do {
            try machine.restore(snapshot, lastIndex: lastIndex, lastTerm: lastTerm)
        } catch {
            ledger.broken(.snapshotFailed(seed: ledger.seed, reason: "\(error)"))
            throw error
        }
        ledger.stands(at: machine.lastApplied, after: lastIndex)
    }
}
