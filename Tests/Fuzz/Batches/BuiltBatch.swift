import Bytes
import FuzzDriver

@testable import KafkaProtocol

/// Records of the input's choice: built into a batch, they come out of it as they went in.
enum BuiltBatch {
    static func check(_ input: inout FuzzInput) {
        let base: Int64 = input.integer()
        var builder = RecordBatchBuilder(baseTimestamp: base)
        if input.byte() & 1 == 1 {
            builder.producerID = input.integer(Int64.self) & .max
            builder.producerEpoch = input.integer(Int16.self) & .max
            builder.baseSequence = input.integer(Int32.self) & .max
        }
        var records: [Record] = []
        repeat {
            let record = record(number: records.count, base, &input)
            builder.append(
                key: record.key,
                value: record.value,
                headers: record.headers.map { ($0.key, $0.value) },
                timestamp: record.timestamp
            )
            records.append(record)
        } while !input.isEmpty
        let batch = builder.finish()
        guard let found = try? batch.records() else { finding("built records cannot be read") }
        require(found == records, "\(records) were built, \(found) read")
        guard (try? RecordBatch.validated(batch.bytes)) == batch else {
            finding("a built batch is not valid")
        }
        SentBatch.check(batch.bytes)
    }

    private static func record(number: Int, _ base: Int64, _ input: inout FuzzInput) -> Record {
        let flags = input.byte()
        let later = Int64(input.integer(Int32.self))
        let (timestamp, overflow) = base.addingReportingOverflow(later)
        var record = Record(
            offset: Offset(Int64(number)),
            timestamp: overflow ? base : timestamp,
            key: flags & 1 == 0 ? nil : input.slice(Int(input.byte())),
            value: flags & 2 == 0 ? nil : input.slice(input.below(4_096)),
            headers: []
        )
        for _ in 0..<flags >> 6 {
            let key = String(decoding: input.slice(Int(input.byte())).array, as: UTF8.self)
            let value = flags & 4 == 0 ? nil : input.slice(Int(input.byte()))
            record.headers.append(Record.Header(key: key, value: value))
        }
        return record
    }
}
