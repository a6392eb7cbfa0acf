import KafkaMessages
import Platform
import Simulator
import Testing

@testable import Broker

/// Nodes that join while the cluster cannot take them in.
@Suite struct RegistrationTests {
    private struct StillWrites: Error {}

    /// Leaves the nodes that are up no room, until a change of the metadata fails for it.
    private static func fillDisks(of cluster: NodeCluster) throws {
        for machine in cluster.up { machine.disk.capacity = machine.disk.usedBytes }
        for number in 0..<2_000 {
            var topic = CreateTopicsRequest.CreatableTopic()
            topic.name = "filler-\(number)"
            topic.numPartitions = 1
            topic.replicationFactor = 1
            var request = CreateTopicsRequest()
            request.topics = [topic]
            if try cluster.ask(request, version: 5).topics.first?.errorCode != 0 { return }
        }
        throw StillWrites()
    }

    @Test func `a node waits while the disk of who leads the metadata is full`() throws {
        let cluster = try NodeCluster(seed: 5)
        let joining = cluster.machine(1)
        joining.kill()
        _ = cluster.simulation.run(for: .seconds(15))
        try Self.fillDisks(of: cluster)
        joining.start()
        _ = cluster.simulation.run(for: .seconds(10))
        #expect(joining.node == nil && joining.problem == nil)
        for machine in cluster.machines { machine.disk.capacity = .max }
        try joining.waitReady()
    }
}
