import Bytes
package import KafkaProtocol
import Platform

/// Reads a whole partition's segments, batch by batch; how internal topics are loaded.
package struct SegmentReplay: Sendable {
    let segments: [Segment]
    let logStart: Offset

    package var isEmpty: Bool { segments.isEmpty }

    /// - Throws: `FileError`, or ``LogDamage`` when a batch does not match its CRC.
    package func forEachBatch(_ body: (RecordBatch) throws -> Void) throws {
        for segment in segments {
            let file = try segment.files.log()
            var scan = try BatchScan(segment, from: 0)
            while let header = try scan.next() {
                guard header.lastOffset >= logStart else { continue }
                let storage = ByteStorage(capacity: header.byteCount)
                let n = try file.read(
                    into: UnsafeMutableRawBufferPointer(
                        start: storage.start,
                        count: header.byteCount
                    ),
                    at: header.position
                )
                let batch = RecordBatch(committed: storage.slice(0..<header.byteCount))
                guard n == header.byteCount, batch.isIntact else {
                    throw LogDamage(
                        path: file.path,
                        problem: "the batch at byte \(header.position) is damaged;"
                            + " restore the partition from a backup"
                    )
                }
                try body(batch)
            }
        }
    }
}
