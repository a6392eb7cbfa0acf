import CLibUV
import CLinux
import Glibc
import Synchronization

/// An event loop thread over libuv.
final class RealEventLoop: EventLoop, @unchecked Sendable {
    // Unchecked: `inbox` is guarded; everything else is confined to the thread.
    private enum Work {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    /// Rounds of ready work before the network is looked at again.
    private static let roundsPerTurn = 32

    let uv = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
    /// libuv's own way to wake a loop, `uv_async_send`, lets the woken thread spin when it preempts
    /// the one that wakes it; and it writes to the kernel even when the loop is awake.
    private let wakeDescriptor = clinux_eventfd()
    private let wake = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private let isAsleep = Atomic(false)
    private let alarm = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
    private let inbox = Mutex<[Work]>([])
    private let inboxFilled = Atomic(false)
    private var local: [Work] = []
    private var running: [Work] = []
    private var timers = TimerQueue()
    private var armedDeadline = Int64.max
    private var waits = ShortWaits()
    private let thread = Mutex<pthread_t?>(nil)
    private var threadID = pthread_t()

    override init(index: Int, clock: any Clock) {
        super.init(index: index, clock: clock)
        precondition(uv_loop_init(uv) == 0, "no event loop could be made")
        precondition(wakeDescriptor >= 0, "no event descriptor could be made: error \(errno)")
        uv_poll_init(uv, wake, wakeDescriptor)
        uv_poll_start(wake, Int32(UV_READABLE.rawValue)) { handle, _, _ in
            var descriptor: uv_os_fd_t = -1
            uv_fileno(
                UnsafeMutableRawPointer(handle)?.assumingMemoryBound(to: uv_handle_t.self),
                &descriptor
            )
            var count: UInt64 = 0
            _ = read(descriptor, &count, 8)
        }
        uv_timer_init(uv, alarm)
        var handle = pthread_t()
        let started = pthread_create(
            &handle,
            nil,
            { context in
                guard let context else { return nil }
                Unmanaged<RealEventLoop>.fromOpaque(context).takeRetainedValue().run()
                return nil
            },
            Unmanaged.passRetained(self).toOpaque()
        )
        precondition(started == 0, "no thread for event loop \(index): error \(started)")
        threadID = handle
    }

    override var isCurrent: Bool { pthread_self() == threadID }

    override func execute(_ body: @escaping @Sendable () -> Void) { submit(.closure(body)) }

    override func enqueue(_ job: consuming ExecutorJob) { submit(.job(UnownedJob(job))) }

    private func submit(_ work: Work) {
        if isCurrent {
            local.append(work)
            return
        }
        let wasEmpty = inbox.withLock { pending in
            pending.append(work)
            return pending.count == 1
        }
        if wasEmpty {
            inboxFilled.store(true, ordering: .sequentiallyConsistent)
            if isAsleep.exchange(false, ordering: .sequentiallyConsistent) { wakeUp() }
        }
    }

    private func wakeUp() {
        var one: UInt64 = 1
        _ = write(wakeDescriptor, &one, 8)
    }

    override func schedule(after nanoseconds: Int64, _ body: @escaping () -> Void) -> LoopTimer {
        precondition(isCurrent, "a timer set from outside the loop")
        let timer = LoopTimer(deadline: clock.monotonicNanoseconds + nanoseconds, body: body)
        timers.insert(timer)
        return timer
    }

    override func listen(_ address: SocketAddress) throws(NetworkError) -> Listener {
        try RealListener(address, on: self)
    }

    override func adopt(_ connection: AcceptedConnection) throws(NetworkError) -> Socket {
        RealSocket(descriptor: connection.descriptor, on: self)
    }

    override func connect(_ address: SocketAddress) async throws(NetworkError) -> Socket {
        try await RealSocket.connect(to: address, on: self)
    }

    func watchSignal(_ number: Int32, _ body: @escaping @Sendable () -> Void) {
        let handle = UnsafeMutablePointer<uv_signal_t>.allocate(capacity: 1)
        uv_signal_init(uv, handle)
        handle.pointee.data = Unmanaged.passRetained(SignalHandler(body)).toOpaque()
        uv_signal_start(
            handle,
            { handle, _ in
                guard let data = handle?.pointee.data else { return }
                Unmanaged<SignalHandler>.fromOpaque(data).takeUnretainedValue().body()
            },
            number
        )
    }

    // MARK: The turn

    private func run() {
        // pthread_create returns before or after this line; both write the same value.
        threadID = pthread_self()
        clinux_set_thread_name("loop-\(index)")
        while true {
            let idle = runReady()
            armAlarm()
            if !idle {
                uv_run(uv, UV_RUN_NOWAIT)
            } else if waits.looksAgain(at: clock.monotonicNanoseconds) {
                // Whoever is to answer may need this core for it.
                sched_yield()
                uv_run(uv, UV_RUN_NOWAIT)
            } else {
                sleep()
            }
            fireTimers()
        }
    }

    /// Waits for the network, an alarm or work; whoever brings work sees `isAsleep`, or this sees
    /// the work.
    private func sleep() {
        isAsleep.store(true, ordering: .sequentiallyConsistent)
        let hasWork = inboxFilled.load(ordering: .sequentiallyConsistent)
        uv_run(uv, hasWork ? UV_RUN_NOWAIT : UV_RUN_ONCE)
        isAsleep.store(false, ordering: .relaxed)
    }

    /// Runs what is ready until nothing is, or the turn has been long; true when nothing is left.
    private func runReady() -> Bool {
        let serial = asUnownedSerialExecutor()
        let task = asUnownedTaskExecutor()
        for _ in 0..<Self.roundsPerTurn {
            if inboxFilled.load(ordering: .acquiring) { takeInbox() }
            if local.isEmpty {
                endTurn()
                if local.isEmpty && !inboxFilled.load(ordering: .acquiring) { return true }
                continue
            }
            if waits.isWaiting { waits.ended(at: clock.monotonicNanoseconds) }
            swap(&local, &running)
            for work in running {
                switch work {
                case .job(let job): job.runSynchronously(isolatedTo: serial, taskExecutor: task)
                case .closure(let body): body()
                }
            }
            running.removeAll(keepingCapacity: true)
        }
        endTurn()
        return false
    }

    private func takeInbox() {
        inbox.withLock { pending in
            inboxFilled.store(false, ordering: .relaxed)
            if local.isEmpty {
                swap(&local, &pending)
            } else {
                local.append(contentsOf: pending)
                pending.removeAll(keepingCapacity: true)
            }
        }
    }

    private func fireTimers() {
        guard timers.nextDeadline != nil else { return }
        let now = clock.monotonicNanoseconds
        while let timer = timers.popDue(at: now) { timer.fire() }
    }

    private func armAlarm() {
        guard let next = timers.nextDeadline else { return }
        let now = clock.monotonicNanoseconds
        // libuv counts in whole milliseconds and may wake a little early: then it is armed again.
        let isArmed =
            uv_is_active(UnsafeMutableRawPointer(alarm).assumingMemoryBound(to: uv_handle_t.self))
            != 0
        if isArmed && next == armedDeadline { return }
        armedDeadline = next
        uv_update_time(uv)
        // Timers run before the poll: the alarm must keep that poll from blocking.
        uv_timer_start(
            alarm,
            { uv_stop($0?.pointee.loop) },
            UInt64(max(0, (next - now + 999_999) / 1_000_000)),
            0
        )
    }
}

private final class SignalHandler {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}
