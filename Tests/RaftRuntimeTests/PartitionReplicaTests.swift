import Bytes
import Platform
import Raft
import Testing
import WriteAheadLog

@testable import RaftRuntime

@Suite struct PartitionReplicaTests {
    private let replicas: Replicas
    private var machine: ManualMachine { replicas.machine }

    init() throws { replicas = try Replicas() }

    private func set(_ key: String, _ value: String = "v") -> RaftPayload {
        RaftPayload(MemoryStateMachine.Command.set(key: key, value: value).encoded)
    }

    private func error(_ body: () throws -> Void) -> RaftError? {
        do {
            try body()
            return nil
        } catch {
            return error as? RaftError
        }
    }

    // MARK: One voter

    @Test func `an entry is applied only after the fdatasync that holds it`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        let syncs = replicas.metrics.fdatasyncs.current
        let index = try replica.propose(set("a"))
        for _ in 0..<10 { machine.loop.turn() }
        #expect(state.values.isEmpty && replica.info.commit < index)
        #expect(replicas.metrics.fdatasyncs.current == syncs)
        #expect(machine.writing.run())
        #expect(replicas.metrics.fdatasyncs.current == syncs + 1)
        #expect(state.values.isEmpty)
        machine.loop.turn()
        #expect(state.values == ["a": "v"])
        #expect(replica.info.commit == index && replica.info.applied == index)
    }

    @Test func `leading begins once the term's own entry is applied`() throws {
        let replica = try replicas.start(5, leads: false)
        var told: [String] = []
        replica.onLeadership = { told.append("\($0) \($1)") }
        #expect(error { try replica.propose(set("a")) } == .notLeader(leader: nil))
        replica.campaign()
        machine.loop.turn()
        #expect(told.isEmpty && !replica.info.isLeader)
        // The vote is durable: it leads, but its own entry is not written yet.
        #expect(machine.writing.run())
        machine.loop.turn()
        #expect(told.isEmpty && replica.info.isLeader && !replica.isReadyLeader)
        machine.settle()
        #expect(told == ["true 1"] && replica.isReadyLeader)
        let info = replica.info
        #expect(info.isLeader && info.term == Term(1) && info.leader == ReplicaID(1))
        #expect(info.applied == LogIndex(1) && info.commit == LogIndex(1))
    }

    @Test func `whatever is proposed in a turn goes into one write`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        let batches = replicas.metrics.batches.current
        var indices: [LogIndex] = []
        for number in 0..<100 { indices.append(try replica.propose(set("\(number)"))) }
        machine.settle()
        #expect(indices == (0..<100).map { indices[0] + $0 })
        #expect(state.values.count == 100)
        #expect(replicas.metrics.batches.current == batches + 1)
    }

    @Test func `what is proposed while a write is under way goes into the next`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        try replica.propose(set("a"))
        machine.loop.turn()
        try replica.propose(set("b"))
        machine.loop.turn()
        #expect(state.values.isEmpty)
        machine.settle()
        #expect(state.values.keys.sorted() == ["a", "b"])
    }

    @Test func `a turn in which nothing happened writes nothing`() throws {
        let replica = try replicas.start(5)
        let batches = replicas.metrics.batches.current
        for _ in 0..<20 {
            replica.tick()
            machine.settle()
        }
        #expect(replicas.metrics.batches.current == batches)
    }

    @Test func `the owner is told once a turn of what was applied`() throws {
        let replica = try replicas.start(5)
        var applied: [LogIndex] = []
        replica.onApplied = { applied.append(replica.info.applied) }
        for _ in 0..<10 { try replica.propose(set("a")) }
        machine.settle()
        #expect(applied == [LogIndex(11)])
    }

    // MARK: After a restart

    @Test func `what was acknowledged is applied again after a restart`() throws {
        let replica = try replicas.start(5)
        for number in 0..<50 { try replica.propose(set("\(number)", "of the first life")) }
        machine.settle()
        try replicas.restart()
        let state = MemoryStateMachine()
        let again = try replicas.start(5, state)
        #expect(state.values.count == 50 && again.info.term == Term(2))
        try again.propose(set("0", "of the second"))
        machine.settle()
        #expect(state.values["0"] == "of the second")
    }

    @Test func `what was only proposed may be gone, and nothing is half there`() throws {
        let replica = try replicas.start(5)
        try replica.propose(set("a"))
        machine.settle()
        try replica.propose(set("b"))
        machine.loop.turn()
        try replicas.restart()
        let state = MemoryStateMachine()
        _ = try replicas.start(5, state)
        #expect(state.values == ["a": "v"])
    }

    @Test func `a restart goes on where the state machine is`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        for number in 0..<10 { try replica.propose(set("\(number)")) }
        machine.settle()
        let snapshot = try state.snapshot(lastIndex: LogIndex(6), lastTerm: Term(1))
        try replicas.restart()
        let restored = MemoryStateMachine()
        try restored.restore(snapshot, lastIndex: LogIndex(6), lastTerm: Term(1))
        let again = try replicas.start(5, restored, appliedTerm: 1)
        #expect(restored.values == state.values)
        #expect(again.storage.firstIndex == LogIndex(7))
    }

    @Test func `a vote is remembered: terms only grow over restarts`() throws {
        _ = try replicas.start(5)
        for term: UInt64 in 2...4 {
            try replicas.restart()
            #expect(try replicas.start(5).info.term == Term(term))
        }
    }

    @Test func `entries left in the log wait while memory is short`() throws {
        let replica = try replicas.start(5)
        try replica.propose(set("a"))
        machine.settle()
        try replicas.restart()
        var isShort = true
        replicas.manager.isThrottled = { isShort }
        let state = MemoryStateMachine()
        _ = try replicas.start(5, state)
        machine.loop.fireTimers()
        machine.settle()
        #expect(state.values.isEmpty)
        isShort = false
        machine.loop.fireTimers()
        machine.settle()
        #expect(state.values == ["a": "v"])
    }

    // MARK: Ends

    @Test func `after a failed fdatasync nothing is acknowledged any more`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        var told: [String] = []
        replica.onLeadership = { leads, _ in told.append("leads: \(leads)") }
        replica.onStorageFailed = { _ in told.append("failed") }
        try replica.propose(set("a"))
        replicas.files.syncFails = true
        machine.settle()
        replicas.files.syncFails = false
        machine.settle()
        #expect(state.values.isEmpty && told == ["leads: false", "failed"])
        #expect(error { try replica.propose(set("b")) } == .storageFailed)
        machine.settle()
        #expect(replicas.wal.isPoisoned && state.values.isEmpty)
    }

    @Test func `a stopped replica takes nothing more`() throws {
        let state = MemoryStateMachine()
        let replica = try replicas.start(5, state)
        try replica.propose(set("a"))
        machine.loop.turn()
        replica.stop()
        machine.settle()
        #expect(state.values.isEmpty && replicas.manager.replica(5) == nil)
        #expect(error { try replica.propose(set("b")) } == .stopped)
    }

    @Test(.timeLimit(.minutes(10)))
    func `whoever waits is answered by the state machine`() async throws {
        let platform = RealPlatform(loopCount: 1)
        let loop = platform.loops[0]
        let directory = replicas.directory + "-real"
        defer { try? platform.files.removeTree(directory) }
        let configuration = WALConfiguration(directory: directory, fileBytes: 1 << 20)
        let wal = try GroupCommitWAL.open(
            configuration,
            files: platform.files,
            worker: platform.makeWorker(name: "wal"),
            preparer: platform.makeWorker(name: "files"),
            clock: platform.clock,
            generator: platform.makeGenerator()
        ) { _, _, _ in }
        let answers = try await Task(executorPreference: loop) {
            let manager = RaftReplicaManager(
                loop: loop,
                wal: wal,
                reader: platform.makeWorker(name: "reads"),
                replicaID: ReplicaID(1),
                generator: platform.makeGenerator()
            )
            // The loop outlives the test and calls it at the end of every turn.
            _ = Unmanaged.passRetained(manager)
            let storage = WALRaftStorage(
                group: 1,
                membership: Membership(voters: [ReplicaID(1)])
            )
            let replica = try manager.start(
                group: 1,
                storage: storage,
                stateMachine: MemoryStateMachine()
            )
            await withUnsafeContinuation { (leads: UnsafeContinuation<Void, Never>) in
                replica.onLeadership = { _, _ in leads.resume() }
                replica.campaign()
            }
            var answers: [String] = []
            for number in 0..<20 {
                let payload = set("a", "\(number)")
                let answer = try await replica.proposeAndWait(payload)
                answers.append(String(decoding: answer.array, as: UTF8.self))
            }
            replica.stop()
            return answers
        }.value
        #expect(answers == [""] + (0..<19).map { "\($0)" })
        try await wal.close()
    }
}
