import Bytes
import Foundation
import Platform
import Testing

@testable import WriteAheadLog

/// Logs damaged in every way a disk can: cut, refused or served intact, never a wrong byte.
///
/// `CHRONIK_DAMAGE_CASES` sets the number of cases.
@Suite struct DamageTests {
    /// A batch as the disk holds it.
    private struct Extent {
        let path: String
        var range: Range<Int>
        var records: Range<Int>
    }

    private struct Image {
        let files: FaultyFileSystem
        let records: [Int]
        let batches: [Extent]
        let isClean: Bool
    }

    private struct Outcomes {
        var intact = 0
        var cut = 0
        var refused = 0
    }

    private static var cases: Int {
        ProcessInfo.processInfo.environment["CHRONIK_DAMAGE_CASES"].flatMap(Int.init) ?? 5_000
    }

    @Test func `a damaged log is cut, refused or served intact`() throws {
        var outcomes = Outcomes()
        var fresh = SystemRandomNumberGenerator()
        let seeds = [1, 2, fresh.next()]
        for seed in seeds {
            var generator = SeededGenerator(seed: seed)
            var image = try Self.makeImage(&generator)
            for number in 0..<max(1, Self.cases / seeds.count) {
                if number % 250 == 249 { image = try Self.makeImage(&generator) }
                try Self.damageOnce(image, &generator, seed, &outcomes)
            }
        }
        print(
            "damaged logs: \(outcomes.intact) served intact, \(outcomes.cut) cut,",
            "\(outcomes.refused) refused; seeds \(seeds)"
        )
        #expect(outcomes.intact > 0 && outcomes.cut > 0 && outcomes.refused > 0)
    }

    @Test func `behind damage, all that is intact is found, and it is told what may be lost`()
        throws
    {
        var (passed, refused, plain) = (0, 0, 0)
        var fresh = SystemRandomNumberGenerator()
        let seeds = [3, 4, fresh.next()]
        for seed in seeds {
            var generator = SeededGenerator(seed: seed)
            var image = try Self.makeImage(&generator)
            for number in 0..<max(1, Self.cases / seeds.count) {
                if number % 250 == 249 { image = try Self.makeImage(&generator) }
                switch try Self.surviveOnce(image, &generator, seed) {
                case .passed: passed += 1
                case .refused: refused += 1
                case .plain: plain += 1
                }
            }
        }
        print("damaged logs: \(passed) read past damage, \(refused) refused, \(plain) without")
        #expect(passed > refused && refused > 0 && plain > 0)
    }

    private enum Survival { case passed, refused, plain }

    /// Recovers a damaged log, goes on writing to it, and recovers it again.
    private static func surviveOnce(
        _ image: Image,
        _ generator: inout SeededGenerator,
        _ seed: UInt64
    ) throws -> Survival {
        let files = image.files.duplicate()
        let path = files.paths[generator.below(files.paths.count)]
        let before = ByteSlice(files.contents(path))
        let kind = damage(files, path, image, &generator)
        let after = ByteSlice(files.contents(path))
        let isHeadTouched =
            path.hasSuffix("clean-shutdown")
            ? after != before : after.prefix(36) != before.prefix(36)
        func isWhole(_ batch: Extent) -> Bool {
            batch.path != path
                || (!isHeadTouched && after.count >= batch.range.upperBound
                    && after[batch.range] == before[batch.range])
        }
        let whole = image.batches.map(isWhole)
        let expected = zip(image.batches, whole).filter(\.1).flatMap { image.records[$0.0.records] }
        let harness = LogHarness(seed: seed, files)
        harness.survivesDamage = true
        let note: Comment = "seed \(seed), \(kind) of \(path)"
        do throws(WALError) {
            try harness.open()
        } catch {
            // The last file in use is what cannot be read, or where the log ended.
            let last = image.batches.last?.path
            #expect(
                isHeadTouched
                    && (path == last || path.hasSuffix("shutdown")
                        || !image.batches.contains { $0.path == path }),
                "\(note): \(error)"
            )
            return .refused
        }
        #expect(harness.found == expected, note)
        let kept = Set(expected)
        let missing = image.records.filter { !kept.contains($0) }
        // Of a tail that is gone altogether nothing tells, but for a clean shutdown.
        let isCut = Array(image.records.suffix(missing.count)) == missing && !image.isClean
        #expect(harness.damage.count <= 1, note)
        if harness.damage.isEmpty { #expect(missing.isEmpty || isCut, note) }
        if let last = harness.damage.last?.damage, let worst = harness.damage.first {
            let term = missing.map { TestRecord.record($0).term }.max() ?? 0
            #expect(last.highestTerm >= term, note)
            // Told before anything that was written later than what is missing.
            if let first = missing.first, let place = image.records.firstIndex(of: first) {
                #expect(worst.found <= image.records[..<place].count, note)
            }
        }
        // It goes on behind, and the damage is still told.
        let wasDamaged = !harness.damage.isEmpty
        for _ in 0..<3 { harness.write(2) }
        let all = harness.submitted
        #expect(harness.acknowledged == all.count, note)
        if generator.chance(1, in: 2) { #expect(harness.close() == nil) }
        try harness.open()
        #expect(harness.found == all, note)
        #expect(wasDamaged == !harness.damage.isEmpty, note)
        return wasDamaged ? .passed : .plain
    }

    // MARK: Making

    private static func makeImage(_ generator: inout SeededGenerator) throws -> Image {
        let harness = LogHarness(seed: generator.next())
        try harness.open()
        let lives = 1 + generator.below(3)
        for life in 0..<lives {
            for _ in 0..<5 + generator.below(50) {
                for _ in 0...generator.below(3) { harness.submit(1 + generator.below(5)) }
                harness.machine.settle()
            }
            if generator.chance(1, in: 2), let last = harness.submitted.last,
                let place = harness.positions[last], place.file > 1
            {
                harness.log?.release(before: place.file - UInt64(generator.below(2)))
                harness.machine.settle()
            }
            if life < lives - 1 {
                if generator.chance(1, in: 2) { _ = harness.close() }
                try harness.open()
            }
        }
        let isClean = generator.chance(1, in: 3)
        if isClean { #expect(harness.close() == nil) }
        let oldest = harness.log?.oldestFile ?? 0
        let kept = harness.submitted.filter { (harness.positions[$0]?.file ?? 0) >= oldest }
        return Image(
            files: harness.files.duplicate(),
            records: kept,
            batches: extents(kept.compactMap { harness.positions[$0] }),
            isClean: isClean
        )
    }

    private static func extents(_ positions: [WALPosition]) -> [Extent] {
        var batches: [Extent] = []
        var previous: WALPosition?
        for (index, place) in positions.enumerated() {
            if let before = previous, before.file == place.file, before.seed == place.seed {
                let last = batches.count - 1
                batches[last].range = batches[last].range.lowerBound..<place.end
                batches[last].records = batches[last].records.lowerBound..<index + 1
            } else {
                batches.append(
                    Extent(
                        path: "/wal/" + FileName.log(place.file),
                        range: WALBlock.roundedDown(place.offset)..<place.end,
                        records: index..<index + 1
                    )
                )
            }
            previous = place
        }
        return batches
    }

    // MARK: Damaging

    private static func damageOnce(
        _ image: Image,
        _ generator: inout SeededGenerator,
        _ seed: UInt64,
        _ outcomes: inout Outcomes
    ) throws {
        let files = image.files.duplicate()
        let path: String
        if generator.chance(1, in: 2), let last = image.batches.last?.path {
            path = last
        } else {
            path = files.paths[generator.below(files.paths.count)]
        }
        let before = ByteSlice(files.contents(path))
        let kind = damage(files, path, image, &generator)
        let after = ByteSlice(files.contents(path))
        let touched = image.batches.map {
            $0.path == path
                && (after.count < $0.range.upperBound
                    || after[$0.range] != before[$0.range])
        }
        let isHeadTouched =
            path.hasSuffix("clean-shutdown")
            ? after != before : after.prefix(36) != before.prefix(36)
        let harness = LogHarness(seed: seed, files)
        let note: Comment = "seed \(seed), \(kind) of \(path)"
        do throws(WALError) {
            try harness.open()
        } catch {
            outcomes.refused += 1
            if case .rejected = error { Issue.record("wrong bytes served: \(error), \(note)") }
            let mayRefuse = isHeadTouched || touched.dropLast().contains(true)
            #expect(mayRefuse || (image.isClean && touched.contains(true)), note)
            return
        }
        #expect(Array(image.records.prefix(harness.found.count)) == harness.found, note)
        if harness.found.count == image.records.count {
            outcomes.intact += 1
            #expect(!touched.contains(true), note)
        } else {
            outcomes.cut += 1
            #expect(!image.isClean, note)
            // All that is missing was hit: nothing intact was dropped.
            for (batch, isTouched) in zip(image.batches, touched)
            where batch.records.upperBound > harness.found.count {
                #expect(batch.records.lowerBound >= harness.found.count && isTouched, note)
            }
        }
        if let sample = harness.found.last { try harness.checkRead(sample) }
    }

    private static func damage(
        _ files: FaultyFileSystem,
        _ path: String,
        _ image: Image,
        _ generator: inout SeededGenerator
    ) -> String {
        let size = files.contents(path).count
        guard size > 0 else { return "nothing" }
        // Most of a file is unused: aim at what is in use.
        let end = image.batches.last { $0.path == path }?.range.upperBound ?? size
        let reach = generator.chance(7, in: 8) ? min(end, size) : size
        let at = generator.below(reach)
        switch generator.below(6) {
        case 0:
            files.change(path) { $0[at] ^= 1 << UInt8(generator.below(8)) }
            return "bit flip"
        case 1:
            let length = min(size - at, 1 + generator.below(9_000))
            files.change(path) {
                $0.replaceSubrange(at..<at + length, with: repeatElement(0, count: length))
            }
            return "zeroing"
        case 2:
            files.change(path) { $0.removeLast(size - at) }
            return "truncation"
        case 3:
            // Sectors of the last batch that never arrived.
            guard let last = image.batches.last, last.path == path else { fallthrough }
            files.change(path) { bytes in
                for start in stride(from: last.range.lowerBound, to: bytes.count, by: 512)
                where start < last.range.upperBound && generator.chance(1, in: 2) {
                    for index in start..<min(start + 512, bytes.count) { bytes[index] = 0x5A }
                }
            }
            return "tear"
        case 4:
            // A block in the place of another.
            let from = generator.below(size) & ~4_095
            let to = at & ~4_095
            files.change(path) { bytes in
                let length = min(4_096, size - max(from, to))
                bytes.replaceSubrange(to..<to + length, with: Array(bytes[from..<from + length]))
            }
            return "misplaced block"
        default:
            let length = min(size - at, 1 + generator.below(600))
            files.change(path) { bytes in
                for index in at..<at + length {
                    bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
            return "garbage"
        }
    }
}
