package import Platform

/// One life of a simulated machine: from power-on, or a process's start, to its end.
package final class SimulatedPlatform: HostPlatform, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    package let clock: any Clock
    package let files: FileSystem
    package let loops: [EventLoop]
    private let simulation: Simulation
    private let life: MachineLife
    private let machineClock: MachineClock

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
        machineClock = MachineClock(simulation.clock)
        clock = machineClock
        let clock = machineClock
        loops = (0..<loopCount).map { SimulatedEventLoop(index: $0, simulation, life, clock) }
        files?.processStarted { [weak self] in self?.end() }
    }

    package func makeWorker(name: String) -> Worker {
        SimulatedWorker(simulation, life, machineClock)
    }

    package func makeGenerator() -> SeededGenerator { simulation.makeGenerator() }

    package var isOn: Bool { life.isOn }

    /// The process stands still for so long, and then goes on with what has gathered.
    package func pause(for nanoseconds: Int64) {
        life.pausedUntil = max(life.pausedUntil, simulation.clock.now + nanoseconds)
        life.busyUntil = max(life.busyUntil, life.pausedUntil)
    }

    /// What the wall clock shows beyond the time of the simulation.
    package var wallOffsetMilliseconds: Int64 {
        get { machineClock.wallOffset }
        set { machineClock.wallOffset = newValue }
    }

    /// Millionths by which its clocks, and with them its timers, run fast; slow below 0.
    package var clockDrift: Int64 {
        get { machineClock.drift }
        set { machineClock.drift = newValue }
    }

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
    /// Nothing of it runs before this time.
    var pausedUntil: Int64 = 0
    /// Its loops, which take turns, have none before this time.
    var busyUntil: Int64 = 0
    private var strands: UInt64 = 0

    init(host: String) { self.host = host }

    /// Numbers the loops and workers, for the trace.
    func nextStrand() -> UInt64 {
        strands += 1
        return strands
    }
}
