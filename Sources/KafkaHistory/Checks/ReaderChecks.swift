import KafkaProtocol

/// What consumers were given.
struct ReaderChecks {
    private struct Reader: Hashable {
        let process: String
        let place: TopicPartition
    }

    private let finals: [TopicPartition: ReplicaContent]
    private var positions: [Reader: Int64] = [:]

    init(_ replicas: [TopicPartition: [ReplicaContent]]) {
        finals = replicas.compactMapValues(\.first)
    }

    /// A consumer reads on where it was, only what is there for good, and in the end all of it.
    mutating func check(
        _ events: [HistoryEvent],
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        for event in events {
            switch event.what {
            case .assign(let process, let place, let offset):
                positions[Reader(process: process, place: place)] = offset
            case .poll(let process, let place, let entries):
                for entry in entries {
                    check(entry, Reader(process: process, place: place), violate)
                }
            case .finished(let process, let place):
                let position = positions[Reader(process: process, place: place)] ?? 0
                guard let final = finals[place], position < final.high else { continue }
                violate(
                    .unseenRecords,
                    "\(process) read \(place) to \(position); it ends at \(final.high)"
                )
            default: continue
            }
        }
    }

    private mutating func check(
        _ entry: HistoryEvent.Entry,
        _ reader: Reader,
        _ violate: (HistoryViolation.Rule, String) -> Void
    ) {
        if let expected = positions[reader], entry.offset != expected {
            violate(
                .pollOutOfOrder,
                "\(reader.process) read offset \(entry.offset) of \(reader.place),"
                    + " expected \(expected)"
            )
        }
        positions[reader] = entry.offset + 1
        guard let final = finals[reader.place], entry.offset >= final.low,
            final.records[entry.offset] != entry
        else { return }
        violate(
            .readRecordLost,
            "\(reader.process) read \(entry.key ?? "null") at offset \(entry.offset) of"
                + " \(reader.place), where there is \(final.records[entry.offset]?.key ?? "nothing")"
        )
    }
}
