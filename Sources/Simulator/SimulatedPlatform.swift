package import Platform

/// One life of a simulated machine: from power-on, or a process's start, to its end.
package final class SimulatedPlatform: HostPlatform, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    package let clock: any Clock
    package let files: FileSystem
    package let loops: [EventLoop]
    private let simulation: Simulation
    private let life: MachineLife

    /// Starts a machine whose name on the network is `host`; a machine without a disk has no
    /// `files`.
    package init(
        _ simulation: Simulation,
        host: String,
        files: SimulatedFileSystem? = nil,
        loopCount: Int = 1
    ) {
        precondition(loopCount > 0, "\(loopCount) event loops")
        self.simulation = simulation
        let life = MachineLife(host: host)
        self.life = life
        self.files = files ?? SimulatedFileSystem(simulation)
        clock = simulation.clock
        loops = (0..<loopCount).map { SimulatedEventLoop(index: $0, simulation, life) }
        files?.processStarted { [weak self] in self?.end() }
    }

    package func makeWorker(name: String) -> Worker { SimulatedWorker(simulation, life) }

    package func makeGenerator() -> SeededGenerator { simulation.makeGenerator() }

    package var isOn: Bool { life.isOn }

    /// Nothing of this life runs any more, and its connections break; the files are left as the
    /// process left them, in the cache of the kernel.
    ///
    /// For a power cut, see ``SimulatedFileSystem/cutPower()``.
    package func end() {
        guard life.isOn else { return }
        life.isOn = false
        (files as? SimulatedFileSystem)?.processEnded()
        simulation.network.hostEnded(life)
    }
}

/// Whether a machine, or its process, still runs.
final class MachineLife {
    let host: String
    var isOn = true
    private var strands: UInt64 = 0

    init(host: String) { self.host = host }

    /// Numbers the loops and workers, for the trace.
    func nextStrand() -> UInt64 {
        strands += 1
        return strands
    }
}
