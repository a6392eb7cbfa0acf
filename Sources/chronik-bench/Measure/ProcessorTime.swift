import Glibc

/// Processor seconds this process has used, all threads together.
struct ProcessorTime: Sendable {
    let user: Double
    let system: Double

    var total: Double { user + system }

    static func now() -> ProcessorTime {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return ProcessorTime(user: seconds(usage.ru_utime), system: seconds(usage.ru_stime))
    }

    func since(_ earlier: ProcessorTime) -> ProcessorTime {
        ProcessorTime(user: user - earlier.user, system: system - earlier.system)
    }

    private static func seconds(_ time: timeval) -> Double {
        Double(time.tv_sec) + Double(time.tv_usec) / 1e6
    }
}
