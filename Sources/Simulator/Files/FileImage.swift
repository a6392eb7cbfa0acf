internal import Glibc
internal import Platform

/// The bytes of a simulated file: what readers see, what the disk holds for certain, and what was
/// written between.
final class FileImage {
    private enum Change {
        case write(offset: Int, bytes: [UInt8])
        case resize(Int)
    }

    /// What a reader gets.
    private(set) var bytes: [UInt8] = []
    /// What a power cut leaves in any case.
    private var durable: [UInt8] = []
    /// What the last sync covered of it.
    private var lastSynced = 0..<0
    /// What no sync has covered, in order.
    private var unsynced: [Change] = []

    var count: Int { bytes.count }

    func write(_ source: UnsafeRawBufferPointer, at offset: Int) {
        Self.put(source, at: offset, into: &bytes)
        unsynced.append(.write(offset: offset, bytes: Array(source)))
    }

    func resize(to size: Int) {
        Self.resize(&bytes, to: size)
        unsynced.append(.resize(size))
    }

    /// All that was written is durable.
    func sync() {
        guard !unsynced.isEmpty else { return }
        lastSynced = 0..<0
        for change in unsynced {
            switch change {
            case .write(let offset, let bytes):
                bytes.withUnsafeBytes { Self.put($0, at: offset, into: &durable) }
                let end = offset + bytes.count
                lastSynced =
                    lastSynced.isEmpty
                    ? offset..<end
                    : min(offset, lastSynced.lowerBound)..<max(end, lastSynced.upperBound)
            case .resize(let size): Self.resize(&durable, to: size)
            }
        }
        unsynced.removeAll(keepingCapacity: true)
    }

    /// A sync that fails: what was written is marked clean, wherever it is.
    ///
    /// Some sectors reach the disk and the others never will, whatever is synced later. Readers go
    /// on seeing what was written, unless the cache has dropped it too.
    func failSync(_ generator: inout SeededGenerator, sector: Int) {
        settle(&generator, sector: sector, keepsNothing: false)
        if generator.chance(1, in: 2) { bytes = durable }
    }

    /// Only what is durable is left, and whatever else the disk happened to write.
    func losePower(_ generator: inout SeededGenerator, sector: Int, keepsNothing: Bool) {
        settle(&generator, sector: sector, keepsNothing: keepsNothing)
        bytes = durable
    }

    /// Lets each unsynced sector reach the disk or not; sizes change in the order of their making,
    /// and nothing written after a size that was lost is kept.
    private func settle(_ generator: inout SeededGenerator, sector: Int, keepsNothing: Bool) {
        let changes = unsynced
        unsynced = []
        if keepsNothing { return }
        for change in changes {
            switch change {
            case .resize(let size):
                guard generator.chance(1, in: 2) else { return }
                Self.resize(&durable, to: size)
            case .write(let offset, let bytes):
                bytes.withUnsafeBytes { all in
                    var start = 0
                    while start < all.count {
                        // Sectors are those of the disk, not of the write.
                        let end = min(all.count, start + sector - (offset + start) % sector)
                        if generator.chance(1, in: 2) {
                            let part = UnsafeRawBufferPointer(rebasing: all[start..<end])
                            Self.put(part, at: offset + start, into: &durable)
                        }
                        start = end
                    }
                }
            }
        }
    }

    /// Changes bytes on the disk and in the cache, as no write of ours did.
    func damage(_ body: (inout [UInt8]) -> Void) {
        body(&bytes)
        body(&durable)
    }

    /// Whether what a power cut leaves in any case has these bytes somewhere; if only what
    /// `isRecent` counts, in what was written not long ago.
    func durablyHolds(_ needle: [UInt8], isRecent: Bool) -> Bool {
        let from = isRecent ? max(0, lastSynced.lowerBound - Self.recentBytes) : 0
        let to = isRecent ? min(lastSynced.upperBound, durable.count) : durable.count
        guard from < to, let first = needle.first else { return needle.isEmpty }
        return durable.withUnsafeBytes { (hay: UnsafeRawBufferPointer) -> Bool in
            guard let start = hay.baseAddress else { return false }
            var place = start + from
            let end = start + to
            while let found = memchr(place, Int32(first), end - place) {
                guard end - UnsafeRawPointer(found) >= needle.count else { return false }
                if memcmp(found, needle, needle.count) == 0 { return true }
                place = UnsafeRawPointer(found) + 1
            }
            return false
        }
    }

    private static let recentBytes = 16 << 10

    private static func put(
        _ source: UnsafeRawBufferPointer,
        at offset: Int,
        into bytes: inout [UInt8]
    ) {
        guard !source.isEmpty else { return }
        if bytes.count < offset + source.count { resize(&bytes, to: offset + source.count) }
        bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[offset..<offset + source.count])
                .copyMemory(from: source)
        }
    }

    private static func resize(_ bytes: inout [UInt8], to size: Int) {
        if size < bytes.count {
            bytes.removeLast(bytes.count - size)
        } else if size > bytes.count {
            bytes += [UInt8](repeating: 0, count: size - bytes.count)
        }
    }
}
