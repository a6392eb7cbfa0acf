import Bytes
import FuzzDriver
import KafkaProtocol

/// Batches as producers send them, each in the ways that the target reads an input.
enum BatchSeeds {
    static func all() -> [FuzzProgram.Seed] {
        var seeds: [FuzzProgram.Seed] = []
        let plain = [
            ("one-record", batch(1)), ("forty-records", batch(40)),
            ("idempotent", batch(3, producer: true)), ("empty-values", batch(3, empty: true)),
            ("headers", batch(2, headers: 3)),
        ]
        for (name, batch) in plain {
            seeds.append(("sent-" + name, [0] + batch))
            seeds.append(("corrected-" + name, [1] + batch))
            for codec in 1...4 where name == "one-record" {
                var packed = batch
                packed[22] = UInt8(codec)
                seeds.append(("codec-\(codec)", [1] + packed))
            }
        }
        seeds.append(("chain", [2] + plain.flatMap { $0.1 }))
        seeds.append(("chain-cut", [2] + plain.flatMap { $0.1 }.dropLast(9)))
        seeds.append(("built-one", [3, 0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0, 0, 3, 0, 0, 0, 5]))
        seeds.append(("built-producer", [3] + [UInt8](repeating: 0x41, count: 120)))
        seeds.append(("built-headers", [3] + (0..<200).map { UInt8(truncatingIfNeeded: $0 * 67) }))
        return seeds
    }

    private static func batch(
        _ count: Int,
        producer: Bool = false,
        empty: Bool = false,
        headers: Int = 0
    ) -> [UInt8] {
        var builder = RecordBatchBuilder(baseTimestamp: 1_700_000_000_000)
        if producer {
            builder.producerID = 7
            builder.producerEpoch = 1
            builder.baseSequence = .max - 1
        }
        for number in 0..<count {
            builder.append(
                key: empty ? nil : ByteSlice("key \(number)"),
                value: empty ? ByteSlice() : ByteSlice("value \(number)"),
                headers: (0..<headers).map { ("header \($0)", $0 == 0 ? nil : ByteSlice("x")) },
                timestamp: 1_700_000_000_000 + Int64(number)
            )
        }
        return builder.finish().bytes.array
    }
}
