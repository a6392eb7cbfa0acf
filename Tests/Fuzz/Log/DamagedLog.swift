import Bytes
import FuzzDriver
import Platform

@testable import WriteAheadLog

/// A log that a disk has damaged: cut, refused or served intact, never a wrong byte.
///
/// Damage is of kinds that no input can aim at a CRC with.
enum DamagedLog {
    static func check(_ input: inout FuzzInput) {
        let image = LogImage.all[Int(input.byte()) % LogImage.all.count]
        let files = image.files.duplicate()
        let paths = files.paths
        repeat {
            damage(files, paths[Int(input.byte()) % paths.count], &input)
        } while !input.isEmpty
        let touched = image.batches.map { batch in
            let (before, after) = (image.files.contents(batch.path), files.contents(batch.path))
            return after.count < batch.range.upperBound || before[batch.range] != after[batch.range]
        }
        let isHeadTouched = paths.contains { path in
            let (before, after) = (image.files.contents(path), files.contents(path))
            // The header of a file or the whole marker, which is as long.
            return path.hasSuffix(FileName.cleanShutdown)
                ? before != after : before.prefix(36) != after.prefix(36)
        }
        let life: LogLife
        do throws(WALError) {
            life = try LogLife(files)
        } catch {
            require(
                isHeadTouched || touched.dropLast().contains(true)
                    || (image.isClean && touched.contains(true)),
                "refused, but no more than a tail was torn: \(error)"
            )
            return
        }
        check(life.found, of: image, touched)
        life.checkGoesOn(files, closing: image.isClean)
    }

    private static func check(_ found: [FoundRecord], of image: LogImage, _ touched: [Bool]) {
        require(found.count <= image.records.count, "\(found.count) of \(image.records.count)")
        require(Array(image.records.prefix(found.count)) == found, "wrong records")
        guard found.count < image.records.count else {
            require(!touched.contains(true), "all records, of damaged batches too")
            return
        }
        require(!image.isClean, "cut, though the end was known")
        for (batch, isTouched) in zip(image.batches, touched)
        where batch.records.upperBound > found.count {
            require(
                batch.records.lowerBound >= found.count && isTouched,
                "the intact batch at \(batch.range) of \(batch.path) is gone"
            )
        }
    }

    private static func damage(
        _ files: FaultyFileSystem,
        _ path: String,
        _ input: inout FuzzInput
    ) {
        let kind = input.byte()
        files.change(path) { bytes in
            guard !bytes.isEmpty else { return }
            let at = input.below(bytes.count)
            let length = min(bytes.count - at, 1 + input.below(9_000))
            switch kind % 6 {
            case 0: bytes[at] ^= 1 << (kind >> 5)
            case 1: for index in at..<at + length { bytes[index] = 0 }
            case 2: bytes.removeLast(bytes.count - at)
            case 3: bytes += [UInt8](repeating: 0, count: length)
            case 4:
                // Sectors that never arrived.
                for start in stride(from: at & ~511, to: at + length, by: 1_024) {
                    for index in start..<min(start + 512, bytes.count) { bytes[index] = 0x5A }
                }
            default:
                // A block in the place of another.
                let (from, to) = (at & ~4_095, (at + length) & ~4_095)
                for (index, byte) in Array(bytes[from..<min(from + 4_096, bytes.count)])
                    .enumerated()
                where to + index < bytes.count {
                    bytes[to + index] = byte
                }
            }
        }
    }
}
