import Bytes
import KafkaProtocol
import Testing

@testable import chronik_bench

@Suite struct `A scan of fetched batches` {
    /// Three batches of ten records of 20 bytes, from offset 100 on.
    private func log() throws -> ByteSlice {
        var rope = ByteRope()
        for n in 0..<3 {
            let template = try ProduceTemplate(
                topic: "t",
                acks: 1,
                version: 9,
                records: 10,
                recordBytes: 20,
                seed: 1
            )
            template.prepare(
                .init(correlationID: 0, partition: 0, wallMilliseconds: 0, departure: Int64(n))
            )
            let batch = RecordBatch(committed: template.batch.copied())
            batch.assign(baseOffset: Offset(Int64(100 + 10 * n)), leaderEpoch: LeaderEpoch(0))
            rope.append(batch.bytes)
        }
        return try #require(rope.joined())
    }

    private func read(_ bytes: ByteSlice, from offset: Int64) throws -> ([BatchScan.Batch], Int64) {
        var scan = BatchScan(bytes, from: offset)
        var batches: [BatchScan.Batch] = []
        while let batch = try scan.next() { batches.append(batch) }
        return (batches, scan.nextOffset)
    }

    @Test func `counts records and bytes by the headers`() throws {
        let (batches, next) = try read(try log(), from: 100)
        #expect(batches.map(\.records) == [10, 10, 10])
        #expect(batches.map(\.valueBytes) == [200, 200, 200])
        #expect(batches.map(\.departure) == [0, 1, 2])
        #expect(next == 130)
    }

    @Test func `a batch it is in the middle of counts from there`() throws {
        let (batches, next) = try read(try log(), from: 114)
        #expect(batches.map(\.records) == [6, 10])
        #expect(batches.map(\.departure) == [nil, 2])
        #expect(next == 130)
    }

    @Test func `a batch cut by the answer's size is left for the next fetch`() throws {
        let bytes = try log()
        for cut in [1, 100, 300] {
            let (batches, next) = try read(bytes.prefix(bytes.count - cut), from: 100)
            #expect(batches.count == 2)
            #expect(next == 120)
        }
    }

    @Test func `what is no batch is refused`() throws {
        let bytes = try log()
        bytes.patchBigEndian(Int32(-1), at: 8)
        #expect(throws: BenchError.self) { _ = try read(bytes, from: 0) }
    }
}
