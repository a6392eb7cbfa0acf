import Glibc

/// What the kernel says of this process, by the names Prometheus' own clients give it.
package enum ProcessMetrics {
    /// Registers them; each is read when it is printed.
    package static func register(in registry: MetricsRegistry, version: String) {
        registry.gauge(
            "chronik_build_info",
            "1, with the version that runs.",
            labels: ["version": version]
        ).set(1)
        registry.sampled(
            "process_resident_memory_bytes",
            "Memory that is in RAM.",
            kind: .gauge
        ) { Double(memoryPages(field: 1) * sysconf(Int32(_SC_PAGESIZE))) }
        registry.sampled("process_virtual_memory_bytes", "Address space.", kind: .gauge) {
            Double(memoryPages(field: 0) * sysconf(Int32(_SC_PAGESIZE)))
        }
        registry.sampled(
            "process_cpu_seconds_total",
            "Processor time taken, in user and kernel mode.",
            kind: .counter,
            processorSeconds
        )
        registry.sampled("process_open_fds", "Open descriptors.", kind: .gauge) {
            Double(openDescriptors())
        }
        registry.sampled("process_max_fds", "Descriptors that may be open.", kind: .gauge) {
            var limit = rlimit()
            guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
                return .nan
            }
            return limit.rlim_cur == rlim_t.max ? .infinity : Double(limit.rlim_cur)
        }
        let start = wallSeconds()
        registry.sampled(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            kind: .gauge
        ) { start }
    }

    private static func memoryPages(field: Int) -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, Int32(line.count), file) != nil else { return 0 }
        let text = String(
            decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)),
            as: UTF8.self
        )
        let fields = text.split(separator: " ")
        return field < fields.count ? Int(fields[field]) ?? 0 : 0
    }

    private static func processorSeconds() -> Double {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return .nan }
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        let micros = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec
        return Double(seconds) + Double(micros) / 1e6
    }

    private static func openDescriptors() -> Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        // Not the two names of directories, and not the one this look itself has open.
        var count = -3
        while readdir(directory) != nil { count += 1 }
        return max(0, count)
    }

    private static func wallSeconds() -> Double {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
