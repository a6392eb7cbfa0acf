import Bytes
import Raft
import Testing

@testable import RaftRuntime

@Suite struct MemoryStateMachineTests {
    private let machine = MemoryStateMachine()

    @discardableResult
    private func apply(_ index: UInt64, _ payload: ByteSlice) -> String {
        let entry = RaftEntry(index: LogIndex(index), term: Term(1), payload: RaftPayload(payload))
        return String(decoding: machine.apply(entry).array, as: UTF8.self)
    }

    @discardableResult
    private func apply(_ index: UInt64, _ command: MemoryStateMachine.Command) -> String {
        apply(index, command.encoded)
    }

    @Test func `commands are read as they were written`() throws {
        let commands: [MemoryStateMachine.Command] = [
            .set(key: "k", value: "v"), .set(key: "", value: ""), .set(key: "é", value: "😀"),
            .delete(key: "k"), .delete(key: ""),
        ]
        for command in commands {
            #expect(try MemoryStateMachine.Command(decoding: command.encoded) == command)
        }
        for bad: [UInt8] in [[], [3, 0, 0, 0, 0], [1, 0, 0, 0, 2, 65], [2, 0, 0, 0, 0, 1]] {
            #expect(throws: MalformedBytes.self) {
                try MemoryStateMachine.Command(decoding: ByteSlice(bad))
            }
        }
    }

    @Test func `the answer is the value before`() {
        #expect(apply(1, .set(key: "a", value: "1")) == "")
        #expect(apply(2, .set(key: "a", value: "2")) == "1")
        #expect(apply(3, .delete(key: "a")) == "2")
        #expect(apply(4, .delete(key: "a")) == "")
        #expect(machine.values.isEmpty && machine.lastApplied == LogIndex(4))
    }

    @Test func `an entry applied again changes nothing`() {
        apply(1, .set(key: "a", value: "1"))
        apply(2, .set(key: "a", value: "2"))
        #expect(apply(1, .set(key: "a", value: "1")) == "")
        #expect(machine.values == ["a": "2"] && machine.lastApplied == LogIndex(2))
    }

    @Test func `entries without a command only count`() {
        apply(1, ByteSlice())
        apply(2, ByteSlice("not a command"))
        let change = RaftEntry(
            index: LogIndex(3),
            term: Term(1),
            kind: .configuration,
            payload: RaftPayload(MemoryStateMachine.Command.set(key: "a", value: "1").encoded)
        )
        #expect(machine.apply(change).isEmpty)
        #expect(machine.values.isEmpty && machine.lastApplied == LogIndex(3))
    }

    @Test func `a snapshot is the whole state`() throws {
        for number: UInt64 in 1...50 {
            apply(
                number,
                .set(key: "key \(number)", value: String(repeating: "x", count: Int(number)))
            )
        }
        let snapshot = try machine.snapshot(lastIndex: LogIndex(50), lastTerm: Term(1))
        let other = MemoryStateMachine()
        try other.restore(snapshot, lastIndex: LogIndex(50), lastTerm: Term(1))
        #expect(other.values == machine.values && other.lastApplied == LogIndex(50))
        #expect(try other.snapshot(lastIndex: LogIndex(50), lastTerm: Term(1)) == snapshot)
        for count in 0..<snapshot.count {
            #expect(throws: MalformedBytes.self) {
                try other.restore(
                    snapshot.prefix(count),
                    lastIndex: LogIndex(60),
                    lastTerm: Term(1)
                )
            }
        }
        #expect(other.values == machine.values && other.lastApplied == LogIndex(50))
    }
}

@Suite struct RaftErrorTests {
    @Test func `why a proposal was refused is told in the words of the replica`() {
        let id = ReplicaID(3)
        #expect(RaftError(RaftProposalError.notLeader(leader: id)) == .notLeader(leader: id))
        #expect(RaftError(RaftProposalError.notLeader(leader: nil)) == .notLeader(leader: nil))
        #expect(RaftError(RaftProposalError.tooManyUncommittedBytes(5)) == .overloaded)
        #expect(RaftError(RaftProposalError.tooManyPendingReads(5)) == .overloaded)
        #expect(RaftError(RaftProposalError.transferInProgress(to: id)) == .notLeader(leader: id))
        #expect(RaftError(RaftProposalError.removed) == .rejected(.removed))
        #expect(RaftError(RaftProposalError.notJoint) == .rejected(.notJoint))
    }
}
