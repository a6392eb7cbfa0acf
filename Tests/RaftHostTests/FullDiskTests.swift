import Bytes
import Platform
import Raft
import RaftRuntime
import Simulator
import Testing

@testable import RaftTesting

/// Hosts whose disks have no room for images.
@Suite struct FullDiskTests {
    private typealias Node = TrialNode<MemoryStateMachine>

    private let simulation = Simulation(seed: 1)
    private let nodes: [Node]

    init() {
        let ids = (1...3).map { ReplicaID($0) }
        let addresses = Dictionary(
            uniqueKeysWithValues: ids.map { ($0, "\(Node.host($0)):\(Node.port)") }
        )
        let (simulation, ledger) = (simulation, TrialLedger(seed: 1))
        nodes = ids.map { id in
            Node(id, simulation, addresses: addresses) {
                ObservedMachine(MemoryStateMachine(), ledger)
            }
        }
        for node in nodes { node.powerOn() }
        _ = simulation.run(for: .seconds(5))
    }

    private final class Box<Value>: @unchecked Sendable {
        // Unchecked: a simulation runs on one thread.
        var value: Value?
    }

    private func ask<Value: Sendable>(
        _ node: Node,
        _ body: @escaping @Sendable (Node.Group) async -> Value
    ) throws -> Value? {
        let (group, loop) = (try #require(node.group), try #require(node.loop))
        let box = Box<Value>()
        Task(executorPreference: loop) { box.value = await body(group) }
        _ = simulation.run(for: .seconds(5)) { box.value != nil }
        return box.value
    }

    private func set(_ numbers: ClosedRange<Int>) throws {
        for number in numbers {
            let command = ByteSlice.set("key \(number)", "\(number)")
            var isSet = false
            for _ in 0..<20 where !isSet {
                isSet = try nodes.contains { node in
                    guard node.isOn else { return false }
                    return try ask(node) { (try? await $0.propose(command)) != nil } == true
                }
                if !isSet { _ = simulation.run(for: .milliseconds(500)) }
            }
            #expect(isSet, "\(number)")
        }
    }

    private func applied(_ node: Node) throws -> LogIndex? {
        try ask(node) { await $0.info.applied }
    }

    private func cutAndCompact(_ node: Node) throws {
        node.cutPower()
        try set(21...60)
        for other in nodes where other.isOn {
            #expect(try ask(other) { (try? await $0.compact()) != nil } == true)
        }
    }

    private static func refusesImages(
        _ operation: SimulatedFileSystem.Operation,
        _ path: String
    ) -> FileError.Reason? {
        operation != .read && path.hasSuffix(".image.tmp") ? .noSpace : nil
    }

    @Test func `a snapshot that finds no room is taken over once there is some`() throws {
        defer { for node in nodes { node.cutPower() } }
        try set(1...20)
        let late = nodes[2]
        try cutAndCompact(late)
        late.disk.failure = Self.refusesImages
        late.powerOn()
        _ = simulation.run(for: .seconds(30))
        // Who wants an image meanwhile is told why there is none.
        #expect(
            try ask(late) { group in
                do throws(RaftError) {
                    _ = try await group.compact()
                    return false
                } catch {
                    if case .snapshotFailed = error { return true }
                    return false
                }
            } == true
        )
        try set(61...65)
        late.disk.failure = nil
        _ = simulation.run(for: .seconds(10))
        let whole = try applied(nodes[0])
        #expect(try applied(late) == whole)
        #expect(try ask(late) { (try? await $0.compact()) != nil } == true)
        late.cutPower()
        late.powerOn()
        _ = simulation.run(for: .seconds(10))
        #expect(try applied(late) == whole)
    }
}
