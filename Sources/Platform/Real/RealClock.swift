import Glibc

struct RealClock: Clock {
    var monotonicNanoseconds: Int64 { read(CLOCK_MONOTONIC) }
    var wallMilliseconds: Int64 { read(CLOCK_REALTIME) / 1_000_000 }

    private func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
