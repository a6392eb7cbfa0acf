package import Bytes
internal import Platform

/// Reading back what is no longer in memory; blocks, on any worker, while writing goes on.
extension GroupCommitWAL {
    /// Records further apart are read with reads of their own.
    private static let maxGap = 64 << 10
    private static let maxReadBytes = 4 << 20

    /// The payload of the record at `position`.
    package func read(_ position: WALPosition) throws(WALError) -> ByteSlice {
        try read([position])[0]
    }

    /// The payloads of the records at `positions`; neighbours share one read and its memory.
    package func read(_ positions: [WALPosition]) throws(WALError) -> [ByteSlice] {
        var payloads: [ByteSlice] = []
        payloads.reserveCapacity(positions.count)
        var next = 0
        while next < positions.count {
            let first = positions[next]
            var last = first
            var end = next + 1
            while end < positions.count, positions[end].follows(last, within: Self.maxGap),
                positions[end].end - first.offset <= Self.maxReadBytes
            {
                last = positions[end]
                end += 1
            }
            try readRun(positions[next..<end], into: &payloads)
            next = end
        }
        return payloads
    }

    /// Reads records of one file, in the order they lie there, with one read.
    private func readRun(
        _ run: ArraySlice<WALPosition>,
        into payloads: inout [ByteSlice]
    ) throws(WALError) {
        guard let first = run.first, let last = run.last else { return }
        guard let file = inventory.file(first.file) else { throw .released(file: first.file) }
        let start = WALBlock.roundedDown(first.offset)
        let length = WALBlock.roundedUp(last.end) - start
        let block = AlignedBlock.make(length)
        let count: Int
        do {
            count = try file.file.read(
                into: UnsafeMutableRawBufferPointer(start: block.start, count: length),
                at: start
            )
        } catch {
            throw .file(error)
        }
        for position in run {
            guard position.end - start <= count,
                let payload = position.payload(in: block, from: start)
            else { throw unreadable(position, file) }
            payloads.append(payload)
        }
    }

    private func unreadable(_ position: WALPosition, _ file: WALFile) -> WALError {
        // Given back, and recycled, while it was being read.
        guard inventory.file(position.file) != nil else { return .released(file: position.file) }
        return .damaged(
            file: file.file.path,
            offset: position.offset,
            remedy: "it cannot be read back; the disk may be failing"
        )
    }
}

extension WALPosition {
    fileprivate func follows(_ other: WALPosition, within gap: Int) -> Bool {
        file == other.file && offset >= other.end && offset - other.end <= gap
    }

    /// The record's payload if its CRC is right; `block` holds the file from `start`.
    fileprivate func payload(in block: ByteStorage, from start: Int) -> ByteSlice? {
        let at = offset - start
        let header = UnsafeRawPointer(block.start + at)
        let payload = at + WALRecordHeader.size..<at + WALRecordHeader.size + length
        let checksum = WALRecordHeader.checksum(
            of: header,
            payload: UnsafeRawBufferPointer(
                start: block.start + payload.lowerBound,
                count: length
            ),
            seed: seed
        )
        guard header.loadLittleEndian(at: 4, as: UInt32.self) == UInt32(length),
            header.loadLittleEndian(at: 0, as: UInt32.self) == checksum
        else { return nil }
        return block.slice(payload)
    }
}
