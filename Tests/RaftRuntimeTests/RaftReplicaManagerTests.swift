import Bytes
import Platform
import Raft
import Testing
import WriteAheadLog

@testable import RaftRuntime

@Suite struct RaftReplicaManagerTests {
    private let replicas: Replicas
    private var machine: ManualMachine { replicas.machine }

    init() throws { replicas = try Replicas() }

    private func set(_ key: String, bytes: Int = 1) -> RaftPayload {
        let value = String(repeating: "v", count: bytes)
        return RaftPayload(MemoryStateMachine.Command.set(key: key, value: value).encoded)
    }

    @Test func `one turn of many groups is one batch and one fdatasync`() throws {
        let states = (0..<40).map { _ in MemoryStateMachine() }
        let groups = try states.enumerated().map {
            try replicas.start(UInt64($0.offset + 1), $0.element)
        }
        let (batches, syncs) = (
            replicas.metrics.batches.current, replicas.metrics.fdatasyncs.current
        )
        for group in groups { for key in ["a", "b"] { try group.propose(set(key)) } }
        machine.settle()
        #expect(replicas.metrics.batches.current == batches + 1)
        #expect(replicas.metrics.fdatasyncs.current == syncs + 1)
        for state in states { #expect(state.values.count == 2) }
    }

    @Test func `groups do not meet one another's entries`() throws {
        let first = try replicas.start(1)
        let second = try replicas.start(2)
        for number in 0..<10 {
            try first.propose(set("first \(number)"))
            if number % 3 == 0 { try second.propose(set("second \(number)")) }
            machine.settle()
        }
        try replicas.restart()
        let states = [MemoryStateMachine(), MemoryStateMachine()]
        _ = try replicas.start(1, states[0])
        _ = try replicas.start(2, states[1])
        #expect(states[0].values.count == 10 && states[1].values.count == 4)
        #expect(states[0].values.keys.allSatisfy { $0.hasPrefix("first") })
        #expect(states[1].values.keys.allSatisfy { $0.hasPrefix("second") })
    }

    @Test func `a proposal made while entries are applied is taken in the same turn`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(1, state)
        var isFirst = true
        replica.onApplied = { [unowned replica] in
            guard isFirst else { return }
            isFirst = false
            _ = try? replica.propose(set("b"))
        }
        try replica.propose(set("a"))
        machine.loop.turn()
        _ = machine.writing.run()
        machine.loop.turn()
        // The second is on its way to the log without another turn.
        #expect(machine.writing.run())
        machine.loop.turn()
        #expect(state.values.keys.sorted() == ["a", "b"])
    }

    @Test func `files are let go once the groups in them have moved on`() throws {
        let state = MemoryStateMachine()
        let busy = try replicas.start(1, state)
        let idle = try replicas.start(2)
        // The files are small: this fills several.
        for number in 0..<150 {
            try busy.propose(set("\(number)", bytes: 2_000))
            machine.settle()
        }
        #expect(idle.storage.oldestFile == 1)
        let wanted: UInt64 = 3
        var relieved: [UInt64] = []
        idle.onReleaseWanted = { idle.truncatePrefix(through: idle.info.applied) }
        busy.onReleaseWanted = { busy.truncatePrefix(through: busy.info.applied) }
        replicas.manager.relieve(below: wanted) { relieved.append($0) }
        machine.settle()
        #expect(relieved.count == 1 && relieved.allSatisfy { $0 >= wanted })
        replicas.wal.release(before: wanted)
        machine.settle()
        #expect(replicas.wal.oldestFile >= wanted)

        try replicas.restart()
        // What the state machine has made durable by itself.
        let held = MemoryStateMachine()
        try held.restore(ByteSlice([0, 0, 0, 0]), lastIndex: LogIndex(1), lastTerm: Term(1))
        let again = try replicas.start(2, held, appliedTerm: 1, leads: false)
        #expect(again.info.term == Term(1) && again.storage.lastIndex == LogIndex(1))
    }

    @Test func `nobody is relieved while a group still needs the file`() throws {
        let replica = try replicas.start(1)
        try replica.propose(set("a"))
        machine.settle()
        var relieved: [UInt64] = []
        replicas.manager.relieve(below: 2) { relieved.append($0) }
        machine.settle()
        #expect(relieved.isEmpty)
        replica.stop()
        #expect(relieved == [.max])
    }

    @Test func `an entry that nobody is there to commit does not keep files`() throws {
        // Its leader is gone, and with it the majority.
        let stuck = try replicas.manager.start(
            group: 1,
            storage: WALRaftStorage(
                group: 1,
                membership: Membership(voters: [ReplicaID(1), ReplicaID(2)])
            ),
            stateMachine: MemoryStateMachine()
        )
        let entry = RaftEntry(index: LogIndex(1), term: Term(4), payload: set("a"))
        stuck.step(
            Message(
                from: ReplicaID(2),
                to: ReplicaID(1),
                term: Term(4),
                body: .append(
                    .init(
                        previousIndex: .zero,
                        previousTerm: .zero,
                        entries: [entry],
                        commit: .zero
                    )
                )
            )
        )
        let busy = try replicas.start(2)
        for number in 0..<150 {
            try busy.propose(set("\(number)", bytes: 2_000))
            machine.settle()
        }
        busy.onReleaseWanted = { busy.truncatePrefix(through: busy.info.applied) }
        let wanted: UInt64 = 3
        #expect(stuck.storage.oldestFile < wanted)
        var relieved: [UInt64] = []
        replicas.manager.relieve(below: wanted) { relieved.append($0) }
        machine.settle()
        #expect(relieved.count == 1 && relieved.allSatisfy { $0 >= wanted })
        replicas.wal.release(before: wanted)
        machine.settle()
        #expect(replicas.wal.oldestFile >= wanted)

        try replicas.restart()
        let again = try replicas.start(1, leads: false)
        #expect(again.info.term == Term(4))
        #expect(try again.storage.term(at: LogIndex(1)) == Term(4))
    }

    @Test func `all who ask for room are answered`() throws {
        let replica = try replicas.start(1)
        try replica.propose(set("a"))
        machine.settle()
        var relieved: [String] = []
        replicas.manager.relieve(below: 2) { _ in relieved.append("first") }
        replicas.manager.relieve(below: 3) { _ in relieved.append("second") }
        machine.settle()
        #expect(relieved.isEmpty)
        replica.stop()
        #expect(relieved == ["first", "second"])
    }

    @Test func `a replica must be a member of its group`() throws {
        let storage = WALRaftStorage(group: 1, membership: Membership(voters: [ReplicaID(2)]))
        let replica = try replicas.manager.start(
            group: 1,
            storage: storage,
            stateMachine: MemoryStateMachine()
        )
        #expect(throws: RaftError.notLeader(leader: nil)) { try replica.propose(set("a")) }
        replica.campaign()
        machine.settle()
        #expect(!replica.info.isLeader)
    }
}
