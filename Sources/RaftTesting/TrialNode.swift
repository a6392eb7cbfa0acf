import Platform
import Raft
import RaftRuntime
import RaftTransport
import Simulator

/// One simulated machine of a trial: a disk that outlives it, and its life of now.
final class TrialNode<Machine: StateMachine>: @unchecked Sendable {
    // Unchecked: a simulation runs on one thread.
    typealias Group = RaftGroup<ObservedMachine<Machine>>

    static var group: UInt64 { 1 }
    static var port: UInt16 { 7000 }

    let id: ReplicaID
    private let simulation: Simulation
    let disk: SimulatedFileSystem
    private let addresses: [ReplicaID: String]
    private let make: @Sendable () -> ObservedMachine<Machine>
    private var platform: SimulatedPlatform?
    private(set) var group: Group?
    private(set) var failure: RaftHostError?
    private var wasCreated = false

    init(
        _ id: ReplicaID,
        _ simulation: Simulation,
        addresses: [ReplicaID: String],
        make: @escaping @Sendable () -> ObservedMachine<Machine>
    ) {
        self.id = id
        self.simulation = simulation
        self.addresses = addresses
        self.make = make
        disk = SimulatedFileSystem(simulation)
    }

    static func host(_ id: ReplicaID) -> String { "node-\(id)" }

    var isOn: Bool { platform?.isOn == true }

    var loop: EventLoop? { isOn ? platform?.loops[0] : nil }

    func powerOn() {
        if !disk.isOn { disk.powerOn() }
        let platform = SimulatedPlatform(simulation, host: Self.host(id), files: disk)
        self.platform = platform
        group = nil
        let threads = RaftThreads(platform)
        Task(executorPreference: platform.loops[0]) { [weak self] in
            await self?.boot(threads, platform)
        }
    }

    private func boot(_ threads: RaftThreads, _ platform: SimulatedPlatform) async {
        var configuration = RaftHostConfiguration(
            cluster: "trial",
            node: id,
            directory: "/raft",
            network: FramedNetwork(listen: addresses[id] ?? "")
        )
        configuration.logFileBytes = 64 << 10
        configuration.logBytes = 256 << 10
        do throws(RaftHostError) {
            let host = try await RaftHost.open(configuration, on: threads)
            try host.setPeers(addresses)
            // Before it was durable nobody heard of it.
            let isKnown = await host.dormantGroups.contains(Self.group)
            group =
                isKnown
                ? try await host.openGroup(Self.group, stateMachine: make)
                : try await host.createGroup(
                    Self.group,
                    voters: addresses.keys.sorted(),
                    stateMachine: make
                )
        } catch {
            if platform.isOn { failure = error }
        }
    }

    func cutPower() {
        group = nil
        disk.cutPower()
        platform?.end()
    }
}
