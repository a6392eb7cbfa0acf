import Bytes
import FuzzDriver
import Platform

@testable import WriteAheadLog

/// A log as it lies on the disk, with what it holds.
struct LogImage: Sendable {
    /// A batch as the disk holds it.
    struct Extent: Sendable {
        let path: String
        var range: Range<Int>
        var records: Range<Int>
    }

    let files: FaultyFileSystem
    let records: [FoundRecord]
    let batches: [Extent]
    /// It was closed, so its end is known.
    let isClean: Bool

    static let all: [LogImage] = [
        LogImage(seed: 1, lives: 1, turns: 3, isClean: false),
        LogImage(seed: 2, lives: 1, turns: 3, isClean: true),
        LogImage(seed: 3, lives: 2, turns: 12, isClean: false),
        LogImage(seed: 4, lives: 3, turns: 12, isClean: true),
    ]

    private init(seed: UInt64, lives: Int, turns: Int, isClean: Bool) {
        var generator = SeededGenerator(seed: seed)
        let files = FaultyFileSystem()
        var records: [FoundRecord] = []
        var places: [WALPosition] = []
        for number in 1...lives {
            let life: LogLife
            do throws(WALError) {
                life = try LogLife(files, seed: generator.next())
            } catch {
                finding("a log that nobody touched is refused: \(error)")
            }
            for _ in 0..<turns {
                let batch = (0..<1 + generator.below(4)).map { _ in Self.record(&generator) }
                places += life.write(batch)
                records += batch.map { FoundRecord($0) }
            }
            if number == 2, let last = places.last, last.file > 1 {
                life.log.release(before: last.file)
                life.machine.settle()
                let kept = places.firstIndex { $0.file >= last.file } ?? places.count
                records.removeFirst(kept)
                places.removeFirst(kept)
            }
            if number < lives || isClean { life.close() }
        }
        self.files = files
        self.records = records
        self.isClean = isClean
        batches = Self.extents(places)
    }

    private static func record(_ generator: inout SeededGenerator) -> WALRecord {
        let kinds = WALRecord.Kind.allCases
        let length = generator.chance(1, in: 8) ? generator.below(6_000) : generator.below(200)
        return WALRecord(
            group: generator.next(),
            incarnation: UInt32(truncatingIfNeeded: generator.next()),
            kind: kinds[generator.below(kinds.count)],
            term: generator.next(),
            index: generator.next(),
            payload: ByteSlice(
                (0..<length).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            )
        )
    }

    private static func extents(_ places: [WALPosition]) -> [Extent] {
        var batches: [Extent] = []
        for (index, place) in places.enumerated() {
            let path = "/wal/" + FileName.log(place.file)
            if index > 0, places[index - 1].file == place.file, places[index - 1].seed == place.seed
            {
                let last = batches.count - 1
                batches[last].range = batches[last].range.lowerBound..<place.end
                batches[last].records = batches[last].records.lowerBound..<index + 1
            } else {
                batches.append(
                    Extent(
                        path: path,
                        range: WALBlock.roundedDown(place.offset)..<place.end,
                        records: index..<index + 1
                    )
                )
            }
        }
        return batches
    }
}
