import Bytes
import Glibc
import Platform

/// What the disk and the loopback of this machine do at best, with nothing between.
///
/// Figures of a broker mean something only next to these, from the same machine and hour.
struct MachineLimits: Sendable {
    private static let block = 4096
    private static let piece = 1 << 20
    private static let syncedFileBytes = 64 << 20
    private static let sequentialBytes = 512 << 20
    private static let seconds: Int64 = 3

    let settings: BenchSettings
    let platform: RealPlatform

    struct Figures: Sendable {
        /// 4 KiB written over blocks that exist, then fdatasync; through the page cache.
        var bufferedSync = QuantileHistogram()
        /// The same with `O_DIRECT`; empty where the file system has none.
        var directSync = QuantileHistogram()
        var loopback = QuantileHistogram()
        var writeMegabytesPerSecond = 0.0
        var readMegabytesPerSecond = 0.0
    }

    func measure() throws(BenchError) -> Figures {
        let directory = settings.directory + "/chronik-bench-limits.\(getpid())"
        do {
            try platform.files.createDirectory(directory)
            defer { try? platform.files.removeTree(directory) }
            var figures = Figures()
            try measureSync(in: directory, &figures)
            try measureSequential(in: directory, &figures)
            figures.loopback = try LoopbackProbe.roundTrips(clock: platform.clock)
            return figures
        } catch let error as BenchError {
            throw error
        } catch {
            throw .file("\(error)")
        }
    }

    private func measureSync(in directory: String, _ figures: inout Figures) throws(FileError) {
        let path = directory + "/synced"
        let file = try platform.files.open(path, .replace)
        let zeros = ByteStorage(capacity: Self.piece, alignment: Self.block)
        zeros.start.initializeMemory(as: UInt8.self, repeating: 0, count: Self.piece)
        let bytes = UnsafeRawBufferPointer(start: zeros.start, count: Self.piece)
        for offset in stride(from: 0, to: Self.syncedFileBytes, by: Self.piece) {
            try file.write(bytes, at: offset)
        }
        try file.sync()
        let noise = UnsafeRawBufferPointer(rebasing: bytes[..<Self.block])
        figures.bufferedSync = try syncTimes(file, noise)
        let direct = try platform.files.open(path, .readWrite, direct: true)
        if isDirect(direct) { figures.directSync = try syncTimes(direct, noise) }
    }

    /// Blocks one after the other, as a log is written.
    private func syncTimes(
        _ file: File,
        _ block: UnsafeRawBufferPointer
    ) throws(FileError) -> QuantileHistogram {
        var times = QuantileHistogram()
        let clock = platform.clock
        let end = clock.monotonicNanoseconds + .seconds(Self.seconds)
        var offset = 0
        while clock.monotonicNanoseconds < end {
            let before = clock.monotonicNanoseconds
            try file.write(block, at: offset)
            try file.sync()
            times.record(clock.monotonicNanoseconds - before)
            offset = (offset + block.count) % Self.syncedFileBytes
        }
        return times
    }

    /// Whether the file bypasses the page cache; opening falls back where it cannot.
    private func isDirect(_ file: File) -> Bool {
        guard let descriptor = file.descriptor else { return false }
        #if arch(x86_64)
        let flag: Int32 = 0x4000
        #else
        let flag: Int32 = 0x10000
        #endif
        return fcntl(descriptor, F_GETFL) & flag != 0
    }

    private func measureSequential(
        in directory: String,
        _ figures: inout Figures
    ) throws(FileError) {
        let clock = platform.clock
        let file = try platform.files.open(directory + "/sequential", .replace)
        let piece = ByteStorage(capacity: Self.piece, alignment: Self.block)
        var generator = SeededGenerator(seed: 1)
        for offset in stride(from: 0, to: Self.piece, by: 8) {
            piece.start.storeBytes(of: generator.next(), toByteOffset: offset, as: UInt64.self)
        }
        let buffer = UnsafeMutableRawBufferPointer(start: piece.start, count: Self.piece)
        let began = clock.monotonicNanoseconds
        var size = 0
        while size < Self.sequentialBytes
            && clock.monotonicNanoseconds - began < .seconds(2 * Self.seconds)
        {
            try file.write(UnsafeRawBufferPointer(buffer), at: size)
            try file.sync()
            size += Self.piece
        }
        let written = clock.monotonicNanoseconds
        // What was just written would be read from memory.
        if let descriptor = file.descriptor {
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        }
        let reading = clock.monotonicNanoseconds
        for offset in stride(from: 0, to: size, by: Self.piece) {
            _ = try file.read(into: buffer, at: offset)
        }
        let read = clock.monotonicNanoseconds
        figures.writeMegabytesPerSecond = Double(size) * 1e3 / Double(max(1, written - began))
        figures.readMegabytesPerSecond = Double(size) * 1e3 / Double(max(1, read - reading))
    }
}

extension MachineLimits.Figures {
    var json: JSONValue {
        .object([
            ("command", .text("limits")),
            ("sync_4k_buffered_p50_us", .number(Self.micros(bufferedSync.quantile(0.5)))),
            ("sync_4k_buffered_p99_us", .number(Self.micros(bufferedSync.quantile(0.99)))),
            ("sync_4k_direct_p50_us", .number(Self.micros(directSync.quantile(0.5)))),
            ("sync_4k_direct_p99_us", .number(Self.micros(directSync.quantile(0.99)))),
            ("has_direct", .boolean(directSync.count > 0)),
            ("loopback_round_trip_p50_us", .number(Self.micros(loopback.quantile(0.5)))),
            ("loopback_round_trip_p99_us", .number(Self.micros(loopback.quantile(0.99)))),
            ("sequential_synced_write_megabytes_per_second", .number(writeMegabytesPerSecond)),
            ("sequential_read_megabytes_per_second", .number(readMegabytesPerSecond)),
        ])
    }

    var table: String {
        """
        fdatasync, 4 KiB over written blocks, buffered   \(Self.line(bufferedSync))
        the same with O_DIRECT                           \(Self.line(directSync))
        TCP round trip over loopback, 64 bytes           \(Self.line(loopback))
        write in pieces of 1 MiB, each synced            \(Self.rate(writeMegabytesPerSecond))
        read in pieces of 1 MiB, cache dropped           \(Self.rate(readMegabytesPerSecond))

        """
    }

    private static func line(_ times: QuantileHistogram) -> String {
        guard times.count > 0 else { return "not available" }
        return "p50 \(Decimals.text(micros(times.quantile(0.5)), 1)) µs, "
            + "p99 \(Decimals.text(micros(times.quantile(0.99)), 1)) µs"
    }

    private static func rate(_ megabytes: Double) -> String {
        "\(Decimals.text(megabytes, 0)) MB/s"
    }

    private static func micros(_ nanoseconds: Int64) -> Double { Double(nanoseconds) / 1e3 }
}
