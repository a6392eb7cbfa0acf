package import Platform

/// A worker of a simulated machine: each piece of its work is an event of the simulation.
package final class SimulatedWorker: Worker, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let simulation: Simulation
    private let life: MachineLife
    private let clock: MachineClock
    private let strand: UInt64
    private var queue: [@Sendable () -> Void] = []
    private var hasEvent = false
    private var isRunning = false
    private var isStopped = false
    private var busyUntil: Int64 = 0

    init(_ simulation: Simulation, _ life: MachineLife, _ clock: MachineClock) {
        self.simulation = simulation
        self.life = life
        self.clock = clock
        strand = life.nextStrand()
        super.init()
    }

    package override func execute(_ body: @escaping @Sendable () -> Void) {
        simulation.checkThread()
        precondition(!isStopped, "work given to a stopped worker")
        guard life.isOn else { return }
        queue.append(body)
        plan()
    }

    package override func execute(
        after nanoseconds: Int64,
        _ body: @escaping @Sendable () -> Void
    ) {
        precondition(!isStopped, "work given to a stopped worker")
        simulation.after(clock.trueNanoseconds(max(0, nanoseconds))) { [self] in
            guard life.isOn else { return }
            queue.insert(body, at: 0)
            plan()
        }
    }

    package override func stop() {
        isStopped = true
        let left = queue
        queue = []
        for body in left where life.isOn { body() }
    }

    private func plan() {
        guard !hasEvent, !isRunning else { return }
        hasEvent = true
        let delay = simulation.drawWakeDelay()
        simulation.after(max(delay, busyUntil - simulation.clock.now)) { [self] in
            hasEvent = false
            runNext()
        }
    }

    private func runNext() {
        guard life.isOn, !queue.isEmpty else { return }
        if life.pausedUntil > simulation.clock.now {
            busyUntil = life.pausedUntil
            return plan()
        }
        simulation.note(strand, queue.count)
        isRunning = true
        queue.removeFirst()()
        isRunning = false
        busyUntil = simulation.clock.now
        if !queue.isEmpty { plan() }
    }
}
