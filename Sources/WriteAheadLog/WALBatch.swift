package import Platform

/// Records of one turn of an event loop, durable together or not at all.
package struct WALBatch: Sendable {
    package typealias Completion = @Sendable (Result<[WALPosition], WALError>) -> Void

    package let records: [WALRecord]
    package let loop: EventLoop
    /// Runs on `loop`; success means that an fdatasync after the write returned without error.
    package let completion: Completion

    /// Bytes the records take in the log.
    let bytes: Int
    let highestTerm: UInt64

    package init(
        records: [WALRecord],
        loop: EventLoop,
        completion: @escaping Completion
    ) {
        self.records = records
        self.loop = loop
        self.completion = completion
        var bytes = 0
        var term: UInt64 = 0
        for record in records {
            bytes += record.encodedBytes
            term = max(term, record.term)
        }
        self.bytes = bytes
        highestTerm = term
    }
}

/// Where the log holds a record.
package struct WALPosition: Hashable, Sendable {
    /// Sequence of the file.
    package let file: UInt64
    let offsetBits: UInt32
    let lengthBits: UInt32
    /// What the record's CRC continues.
    let seed: UInt32

    init(file: UInt64, offset: Int, length: Int, seed: UInt32) {
        self.file = file
        offsetBits = UInt32(offset)
        lengthBits = UInt32(length)
        self.seed = seed
    }

    /// Of the record's header, from the start of the file.
    package var offset: Int { Int(offsetBits) }
    /// Of the payload, in bytes.
    package var length: Int { Int(lengthBits) }

    /// End of the record in the file.
    var end: Int { offset + WALRecordHeader.size + length }
}
