import Testing

@testable import Platform

@Suite(.timeLimit(.minutes(10))) struct EventLoopTests {
    private let loop = Machine.loop

    /// Waits until `body` has called what it is given, on the loop.
    private func wait(_ body: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) async {
        await withCheckedContinuation { continuation in
            loop.execute { body { continuation.resume() } }
        }
    }

    @Test func `work runs on the loop in the order it was given`() async {
        let seen = Box<[Int]>([])
        let strangers = Box(0)
        let loop = loop
        await withCheckedContinuation { continuation in
            for number in 0..<1_000 {
                loop.execute {
                    if !loop.isCurrent { strangers.value += 1 }
                    seen.value.append(number)
                    if number == 999 { continuation.resume() }
                }
            }
        }
        #expect(seen.value == Array(0..<1_000))
        #expect(strangers.value == 0 && !loop.isCurrent)
    }

    @Test func `work given by work runs in the same turn, before its end`() async {
        let loop = RealEventLoop(index: 7, clock: Machine.platform.clock)
        let seen = Box<[String]>([])
        await withCheckedContinuation { continuation in
            loop.execute {
                loop.atEndOfTurn {
                    guard !seen.value.isEmpty else { return }
                    seen.value.append("end")
                    if seen.value.count == 4 { continuation.resume() }
                }
                loop.execute {
                    seen.value.append("first")
                    loop.execute { seen.value.append("second") }
                    loop.execute { seen.value.append("third") }
                }
            }
        }
        #expect(seen.value.prefix(4) == ["first", "second", "third", "end"])
    }

    @Test func `hooks run in order, and what they give runs before the loop waits`() async {
        let loop = RealEventLoop(index: 8, clock: Machine.platform.clock)
        let seen = Box<[String]>([])
        await withCheckedContinuation { continuation in
            loop.execute {
                loop.atEndOfTurn { seen.value.append("one") }
                loop.atEndOfTurn {
                    seen.value.append("two")
                    guard seen.value.count == 2 else { return }
                    loop.execute {
                        seen.value.append("given")
                        continuation.resume()
                    }
                }
            }
        }
        #expect(seen.value.prefix(3) == ["one", "two", "given"])
    }

    @Test func `a loop that never has nothing to do still looks at its timers`() async {
        let loop = loop
        let goesOn = Box(true)
        await wait { done in
            @Sendable func again() { if goesOn.value { loop.execute(again) } }
            again()
            _ = loop.schedule(after: .milliseconds(2)) {
                goesOn.value = false
                done()
            }
        }
        #expect(!goesOn.value)
    }

    @Test func `timers fire in the order of their deadlines, never before`() async {
        let loop = loop
        let seen = Box<[Int64]>([])
        let early = Box(0)
        await wait { done in
            for delay: Int64 in [7, 0, 3, 5, 1] {
                let deadline = loop.clock.monotonicNanoseconds + .milliseconds(delay)
                _ = loop.schedule(after: .milliseconds(delay)) {
                    if loop.clock.monotonicNanoseconds < deadline { early.value += 1 }
                    seen.value.append(delay)
                    if seen.value.count == 5 { done() }
                }
            }
        }
        #expect(seen.value == [0, 1, 3, 5, 7] && early.value == 0)
    }

    @Test func `a cancelled timer does not fire`() async {
        let loop = loop
        let fired = Box(false)
        await wait { done in
            let timer = loop.schedule(after: .milliseconds(1)) { fired.value = true }
            _ = loop.schedule(after: .milliseconds(2)) { done() }
            timer.cancel()
        }
        #expect(!fired.value)
    }

    @Test func `a timer set for sooner than the alarm moves the alarm`() async {
        let loop = loop
        let late = Box<LoopTimer?>(nil)
        await wait { done in
            late.value = loop.schedule(after: .seconds(3_600)) {}; done()
        }
        await wait { done in _ = loop.schedule(after: .milliseconds(1), done) }
        await wait { done in
            late.value?.cancel(); done()
        }
    }

    /// Runs at half speed, so that every alarm of the machine fires before its time.
    private struct SlowClock: Clock {
        let start = Machine.platform.clock.monotonicNanoseconds
        var monotonicNanoseconds: Int64 {
            start + (Machine.platform.clock.monotonicNanoseconds - start) / 2
        }
        var wallMilliseconds: Int64 { 0 }
    }

    @Test func `an alarm which fires a moment early is armed again`() async {
        let loop = RealEventLoop(index: 9, clock: SlowClock())
        for delay: Int64 in [1, 4, 9] {
            await withCheckedContinuation { continuation in
                loop.execute {
                    _ = loop.schedule(after: .milliseconds(delay)) { continuation.resume() }
                }
            }
        }
    }

    @Test func `a task of a loop stays on it over its awaits`() async throws {
        let (loop, other) = (Machine.loop, Machine.otherLoop)
        let places = try await Machine.on(loop) {
            var places = [loop.isCurrent]
            await loop.sleep(nanoseconds: .milliseconds(1))
            places.append(loop.isCurrent)
            places.append(try await Machine.on(other) { other.isCurrent && !loop.isCurrent })
            places.append(loop.isCurrent)
            return places
        }
        #expect(places == [true, true, true, true])
    }

    private actor Pinned {
        nonisolated let loop: EventLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
        private var count = 0
        init(_ loop: EventLoop) { self.loop = loop }
        func increment() -> (Int, Bool) {
            count += 1
            return (count, loop.isCurrent)
        }
    }

    @Test func `an actor of a loop runs there, whoever calls`() async {
        let pinned = Pinned(Machine.otherLoop)
        let results = await withTaskGroup(of: (Int, Bool).self) { group in
            for place in 0..<200 {
                let loop = place % 2 == 0 ? Machine.loop : Machine.otherLoop
                group.addTask(executorPreference: loop) { await pinned.increment() }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results.map(\.0).sorted() == Array(1...200))
        #expect(results.allSatisfy { $0.1 })
    }

    @Test func `loops hand work to one another without losing any`() async {
        let (loop, other) = (Machine.loop, Machine.otherLoop)
        let hops = Box(0)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            @Sendable func ping() {
                hops.value += 1
                if hops.value == 5_000 { return continuation.resume() }
                other.execute { loop.execute(ping) }
            }
            loop.execute(ping)
        }
        #expect(hops.value == 5_000)
    }

    @Test func `a timer fires while a loop stays awake for an answer that does not come`() async {
        let loop = RealEventLoop(index: 10, clock: Machine.platform.clock)
        let other = Machine.otherLoop
        // The alarm rings when a millisecond is full; in some of the rounds the last ping is before
        // that by less than a loop stays awake.
        for step: Int64 in 0..<200 {
            await withCheckedContinuation { continuation in
                loop.execute {
                    let last = loop.clock.monotonicNanoseconds + step * 5_000
                    _ = loop.schedule(after: .milliseconds(1)) { continuation.resume() }
                    @Sendable func ping() {
                        if loop.clock.monotonicNanoseconds >= last { return }
                        other.execute { loop.execute(ping) }
                    }
                    ping()
                }
            }
        }
    }

    // MARK: Workers

    @Test func `a worker runs what it is given in order, and finishes it before it stops`() {
        let worker = Machine.platform.makeWorker(name: "test worker with a long name")
        let seen = Box<[Int]>([])
        for number in 0..<1_000 { worker.execute { seen.value.append(number) } }
        worker.stop()
        #expect(seen.value == Array(0..<1_000))
    }

    @Test func `a worker's delayed work waits for its time`() async {
        let worker = Machine.platform.makeWorker(name: "delayed")
        let clock = Machine.platform.clock
        let begin = clock.monotonicNanoseconds
        let end: Int64 = await withCheckedContinuation { continuation in
            worker.execute(after: .milliseconds(3)) {
                continuation.resume(returning: clock.monotonicNanoseconds)
            }
        }
        #expect(end - begin >= .milliseconds(3))
        let answer: Int = await worker.run { 42 }
        #expect(answer == 42)
        worker.stop()
    }
}
