package import Platform

/// An event loop of a simulated machine: its turns are events of the simulation.
package final class SimulatedEventLoop: EventLoop, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private enum Work {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    /// Rounds of ready work before a turn ends, as on a real loop.
    private static let roundsPerTurn = 32

    private let simulation: Simulation
    private let life: MachineLife
    private let machineClock: MachineClock
    private let strand: UInt64
    private var ready: [Work] = []
    /// What runs of it, in one round; kept for its storage.
    private var batch: [Work] = []
    private var timers = TimerQueue()
    private var hasTurn = false
    private var isInTurn = false

    init(index: Int, _ simulation: Simulation, _ life: MachineLife, _ clock: MachineClock) {
        self.simulation = simulation
        self.life = life
        machineClock = clock
        strand = life.nextStrand()
        super.init(index: index, clock: clock)
    }

    package override var isCurrent: Bool { isInTurn }

    package override func execute(_ body: @escaping @Sendable () -> Void) {
        submit(.closure(body))
    }

    package override func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        // What was handed to this loop before comes first, as on a real one.
        if let running = simulation.running, running.isSame(as: job),
            ready.isEmpty || running.hasVisited(self)
        {
            simulation.running?.next = self
        } else {
            submit(.job(job))
        }
    }

    private func submit(_ work: Work) {
        simulation.checkThread()
        guard life.isOn else { return }
        ready.append(work)
        if !isInTurn { planTurn(after: simulation.drawWakeDelay()) }
    }

    private func planTurn(after nanoseconds: Int64) {
        guard !hasTurn else { return }
        hasTurn = true
        simulation.after(max(nanoseconds, life.busyUntil - simulation.clock.now)) { [self] in
            hasTurn = false
            turn()
        }
    }

    package override func schedule(
        after nanoseconds: Int64,
        _ body: @escaping () -> Void
    ) -> LoopTimer {
        precondition(isCurrent, "a timer set from outside the loop")
        let timer = LoopTimer(deadline: clock.monotonicNanoseconds + nanoseconds, body: body)
        timers.insert(timer)
        wakeUp(for: timer)
        return timer
    }

    private func wakeUp(for timer: LoopTimer) {
        let left = max(0, timer.deadline - machineClock.monotonicNanoseconds)
        simulation.after(machineClock.trueNanoseconds(left)) { [self] in
            guard timer.body != nil else { return }
            // The clock may run slower now than when this was planned.
            if timer.deadline > machineClock.monotonicNanoseconds { return wakeUp(for: timer) }
            if !hasTurn { turn() }
        }
    }

    // MARK: The turn

    private func turn() {
        guard life.isOn else { return }
        let now = simulation.clock.now
        if life.busyUntil > now { return planTurn(after: life.busyUntil - now) }
        simulation.note(strand, ready.count)
        isInTurn = true
        defer { isInTurn = false }
        simulation.spend(500 + Int64(simulation.generator.below(20_000)))
        while life.isOn, let timer = timers.popDue(at: machineClock.monotonicNanoseconds) {
            timer.fire()
        }
        // Sometimes what was handed over last has not arrived yet.
        let rounds = simulation.generator.chance(1, in: 6) ? 1 : Self.roundsPerTurn
        runReady(rounds: rounds)
        life.busyUntil = max(life.busyUntil, simulation.clock.now)
        if life.isOn && !ready.isEmpty { planTurn(after: simulation.drawWakeDelay()) }
    }

    private func runReady(rounds: Int) {
        for _ in 0..<rounds where life.isOn {
            if ready.isEmpty {
                endTurn()
                if ready.isEmpty { return }
                continue
            }
            swap(&ready, &batch)
            for work in batch where life.isOn {
                switch work {
                case .job(let job): run(job)
                case .closure(let body): body()
                }
            }
            batch.removeAll(keepingCapacity: true)
        }
        if life.isOn { endTurn() }
    }

    /// Runs a job until it waits for something or ends, on whichever loops it goes on.
    ///
    /// How often a task changes loops between two waits is the optimizer's to say: it leaves out
    /// changes to where there is nothing to do. So that every build has the same history a change
    /// takes no time, draws nothing, and lets nobody else in between, but those who were handed to
    /// that loop before; a wait does all three.
    private func run(_ job: UnownedJob) {
        simulation.running = RunningJob(job)
        while let here = simulation.running?.goOn(from: self), here.life.isOn {
            here.isInTurn = true
            job.runSynchronously(
                isolatedTo: here.asUnownedSerialExecutor(),
                taskExecutor: here.asUnownedTaskExecutor()
            )
            here.isInTurn = false
        }
        let others = simulation.running?.others ?? []
        simulation.running = nil
        if !others.isEmpty {
            for loop in others.sorted(by: { $0.index < $1.index }) { loop.endVisit() }
        }
        isInTurn = true
    }

    /// What the job of another loop did here is followed by the end of a turn of its own.
    private func endVisit() {
        guard life.isOn else { return }
        isInTurn = true
        endTurn()
        isInTurn = false
        if !ready.isEmpty { planTurn(after: simulation.drawWakeDelay()) }
    }

    // MARK: The network

    package override func listen(_ address: SocketAddress) throws(NetworkError) -> Listener {
        precondition(isCurrent, "a listener made outside its loop")
        return try simulation.network.listen(address, on: life, loop: self)
    }

    package override func adopt(_ connection: AcceptedConnection) throws(NetworkError) -> Socket {
        precondition(isCurrent, "a connection adopted outside the loop")
        guard let end = connection.endpoint as? ConnectionEnd else { throw .closed }
        return SimulatedSocket(end, on: self)
    }

    package override func connect(
        _ address: SocketAddress
    ) async throws(NetworkError) -> Socket {
        try await simulation.network.connect(to: address, from: life, loop: self)
    }
}

/// The job that runs, and the loops it runs on before it waits or ends.
struct RunningJob {
    private let identity: UnsafeRawPointer
    var next: SimulatedEventLoop?
    private var first: SimulatedEventLoop?
    /// The loops beside the first that it has been on.
    private(set) var others: [SimulatedEventLoop] = []

    init(_ job: UnownedJob) { identity = unsafeBitCast(job, to: UnsafeRawPointer.self) }

    func isSame(as job: UnownedJob) -> Bool {
        identity == unsafeBitCast(job, to: UnsafeRawPointer.self)
    }

    func hasVisited(_ loop: SimulatedEventLoop) -> Bool {
        loop === first || others.contains { $0 === loop }
    }

    /// Where it goes on, `first` to begin with; `nil` when it waits or has ended.
    mutating func goOn(from first: SimulatedEventLoop) -> SimulatedEventLoop? {
        guard self.first != nil else {
            self.first = first
            return first
        }
        let loop = next
        next = nil
        if let loop, !hasVisited(loop) { others.append(loop) }
        return loop
    }
}
