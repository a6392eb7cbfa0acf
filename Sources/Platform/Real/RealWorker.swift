import CLinux
import Glibc

/// A thread that sleeps until it is given something.
final class RealWorker: Worker, @unchecked Sendable {
    // Unchecked: `queue`, `delayed` and `stopping` are guarded by `mutex`.
    private let name: String
    private let clock: any Clock
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var queue: [@Sendable () -> Void] = []
    private var delayed: [(deadline: Int64, body: @Sendable () -> Void)] = []
    private var stopping = false
    private var waiting = false
    private var thread = pthread_t()

    init(name: String, clock: any Clock) {
        self.name = name
        self.clock = clock
        super.init()
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(wake, &attributes)
        let started = pthread_create(
            &thread,
            nil,
            { context in
                guard let context else { return nil }
                Unmanaged<RealWorker>.fromOpaque(context).takeRetainedValue().run()
                return nil
            },
            Unmanaged.passRetained(self).toOpaque()
        )
        precondition(started == 0, "no thread for worker \(name): error \(started)")
    }

    deinit {
        pthread_cond_destroy(wake)
        pthread_mutex_destroy(mutex)
        wake.deallocate()
        mutex.deallocate()
    }

    override func execute(_ body: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(mutex)
        precondition(!stopping, "work given to the stopped worker \(name)")
        queue.append(body)
        unlockAndWake()
    }

    override func execute(after nanoseconds: Int64, _ body: @escaping @Sendable () -> Void) {
        let deadline = clock.monotonicNanoseconds + nanoseconds
        pthread_mutex_lock(mutex)
        precondition(!stopping, "work given to the stopped worker \(name)")
        delayed.append((deadline, body))
        unlockAndWake()
    }

    override func stop() {
        pthread_mutex_lock(mutex)
        stopping = true
        unlockAndWake()
        pthread_join(thread, nil)
    }

    /// Wakes the thread once, and only after the lock is free: it would wait for it at once.
    private func unlockAndWake() {
        let wakes = waiting
        waiting = false
        pthread_mutex_unlock(mutex)
        if wakes { pthread_cond_signal(wake) }
    }

    private func run() {
        clinux_set_thread_name(String(name.prefix(15)))
        var batch: [@Sendable () -> Void] = []
        while takeWork(into: &batch) {
            for body in batch { body() }
            batch.removeAll(keepingCapacity: true)
        }
    }

    /// Waits for work and moves all there is into `batch`; false when the worker has stopped.
    private func takeWork(into batch: inout [@Sendable () -> Void]) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if !delayed.isEmpty {
                let now = clock.monotonicNanoseconds
                batch += delayed.filter { $0.deadline <= now }.map(\.body)
                delayed.removeAll { $0.deadline <= now }
            }
            if !queue.isEmpty {
                batch += queue
                queue.removeAll(keepingCapacity: true)
            }
            if !batch.isEmpty { return true }
            if stopping { return false }
            waitForSignal()
        }
    }

    private func waitForSignal() {
        waiting = true
        defer { waiting = false }
        guard let next = delayed.map(\.deadline).min() else {
            pthread_cond_wait(wake, mutex)
            return
        }
        var until = timespec()
        until.tv_sec = Int(next / 1_000_000_000)
        until.tv_nsec = Int(next % 1_000_000_000)
        pthread_cond_timedwait(wake, mutex, &until)
    }
}
