import Bytes
import Platform
import Raft
import Testing

@testable import RaftRuntime

/// What a state machine and a replica must do, under the names by which it was asked for.
@Suite struct MissionTests {
    typealias Command = MemoryStateMachine.Command

    private static func entry(_ index: UInt64, _ command: Command) -> RaftEntry {
        RaftEntry(
            index: LogIndex(index),
            term: Term(1),
            payload: RaftPayload(command.encoded)
        )
    }

    private static func text(_ bytes: ByteSlice) -> String {
        String(decoding: bytes.array, as: UTF8.self)
    }

    // MARK: State machine

    @Test func apply_entry() {
        let machine = MemoryStateMachine()
        let answer = machine.apply(Self.entry(1, .set(key: "a", value: "1")))
        #expect(answer.isEmpty)
        #expect(machine.values == ["a": "1"] && machine.lastApplied == LogIndex(1))
    }

    @Test func apply_multiple_entries() {
        let machine = MemoryStateMachine()
        for number: UInt64 in 1...100 {
            _ = machine.apply(
                Self.entry(number, .set(key: "\(number % 10)", value: "\(number)"))
            )
        }
        #expect(Self.text(machine.apply(Self.entry(101, .delete(key: "0")))) == "100")
        #expect(machine.values.count == 9 && machine.values["9"] == "99")
        #expect(machine.lastApplied == LogIndex(101))
    }

    @Test func snapshot_and_restore() throws {
        let machine = MemoryStateMachine()
        for number: UInt64 in 1...20 {
            _ = machine.apply(Self.entry(number, .set(key: "\(number)", value: "v")))
        }
        let bytes = try machine.snapshot(lastIndex: LogIndex(20), lastTerm: Term(1))
        let other = MemoryStateMachine()
        _ = other.apply(Self.entry(1, .set(key: "gone", value: "v")))
        try other.restore(bytes, lastIndex: LogIndex(20), lastTerm: Term(1))
        #expect(other.values == machine.values && other.lastApplied == LogIndex(20))
        #expect(other.values["gone"] == nil)
    }

    @Test func idempotent_apply() {
        let machine = MemoryStateMachine()
        _ = machine.apply(Self.entry(1, .set(key: "a", value: "1")))
        _ = machine.apply(Self.entry(2, .set(key: "a", value: "2")))
        for index: UInt64 in 1...2 {
            #expect(machine.apply(Self.entry(index, .set(key: "a", value: "again"))).isEmpty)
        }
        #expect(machine.values == ["a": "2"] && machine.lastApplied == LogIndex(2))
    }

    @Test func empty_state_machine() throws {
        let machine = MemoryStateMachine()
        #expect(machine.lastApplied == .zero && machine.values.isEmpty)
        let bytes = try machine.snapshot(lastIndex: .zero, lastTerm: .zero)
        let other = MemoryStateMachine()
        try other.restore(bytes, lastIndex: .zero, lastTerm: .zero)
        #expect(other.values.isEmpty && other.lastApplied == .zero)
    }

    // MARK: Replica

    private static func payload(_ key: String) -> RaftPayload {
        RaftPayload(Command.set(key: key, value: "v").encoded)
    }

    @Test func create_replica() throws {
        let replicas = try Replicas()
        let replica = try replicas.start(7, leads: false)
        let info = replica.info
        #expect(replica.group == 7 && info.role == .follower && info.leader == nil)
        #expect(info.term == .zero && info.commit == .zero && info.applied == .zero)
        #expect(info.membership == Membership(voters: [ReplicaID(1)]))
        #expect(replicas.manager.replica(7) === replica && replicas.manager.replica(8) == nil)
    }

    @Test func propose_as_follower_fails() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        let leader = try cluster.leader()
        #expect(cluster.run(1_000) { cluster.isWhole() })
        for follower in cluster.followers() {
            #expect(throws: RaftError.notLeader(leader: leader.id)) {
                try follower.on { try $0?.propose(Self.payload("a")) }
            }
        }
        let replicas = try Replicas()
        let alone = try replicas.start(1, leads: false)
        #expect(throws: RaftError.notLeader(leader: nil)) { try alone.propose(Self.payload("a")) }
    }

    @Test func single_node_propose() throws {
        let replicas = try Replicas()
        let machine = MemoryStateMachine()
        let replica = try replicas.start(1, machine)
        var answer: Result<ByteSlice, RaftError>?
        replica.propose(Self.payload("a")) { answer = $0 }
        #expect(answer == nil && machine.values.isEmpty)
        replicas.machine.settle()
        #expect(answer == .success(ByteSlice()) && machine.values == ["a": "v"])
    }

    @Test func state_tracking() throws {
        let replicas = try Replicas()
        let replica = try replicas.start(1, leads: false)
        var leads: [Bool] = []
        var leaders: [ReplicaID?] = []
        replica.onLeadership = { now, _ in leads.append(now) }
        replica.onLeaderChanged = { leader, _ in leaders.append(leader) }
        replica.campaign()
        replicas.machine.settle()
        let info = replica.info
        #expect(info.role == .leader && info.term == Term(1) && info.leader == ReplicaID(1))
        #expect(info.lastIndex == LogIndex(1) && info.commit == LogIndex(1))
        #expect(leads == [true] && leaders == [ReplicaID(1)])
        #expect(replica.status.peers.map(\.match) == [LogIndex(1)])
    }

    @Test func tick() throws {
        let cluster = try Cluster()
        try cluster.createGroup()
        // Nobody was told to campaign: time alone makes a leader.
        let leader = try cluster.leader(within: 2_000)
        #expect(leader.replica()?.info.term.rawValue ?? 0 >= 2)
        let replicas = try Replicas()
        let alone = try replicas.start(1, leads: false)
        for _ in 0..<2 * RaftConfig().electionTicks { alone.tick() }
        replicas.machine.settle()
        #expect(alone.isReadyLeader)
    }

    @Test func applied_index_tracking() throws {
        let replicas = try Replicas()
        let machine = MemoryStateMachine()
        let replica = try replicas.start(1, machine)
        for number in 0..<10 {
            let index = try replica.propose(Self.payload("\(number)"))
            #expect(replica.info.applied < index && replica.info.lastIndex == index)
            replicas.machine.settle()
            #expect(replica.info.applied == index && machine.lastApplied == index)
        }
    }
}
