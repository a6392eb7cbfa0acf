package import Bytes
internal import Platform

/// What the log's directory held, ready to go on with.
struct RecoveredFiles {
    /// By rising sequence, never empty; the last is the one to go on in.
    var live: [WALFile] = []
    var next: [WALFile] = []
    var free: [String] = []
    var nextSequence: UInt64 = 1
}

/// Where the next batch goes.
struct LogEnd {
    let file: WALFile
    let offset: Int
    let nextNumber: UInt64
    /// Where the last batch begins; `offset` if the file has none.
    let lastBatch: Int

    /// Writes the last batch again and makes it durable.
    ///
    /// A process that was killed may have left it without an fdatasync, or with one that failed:
    /// then it is in the kernel's cache as if it were on the disk, and a sync alone would not bring
    /// it there. All batches before it were durable before it was begun.
    func makeDurable() throws(FileError) {
        let piece = AlignedBlock.zeroed(min(1 << 20, max(WALBlock.size, offset - lastBatch)))
        var at = lastBatch
        while at < offset {
            let count = min(piece.capacity, offset - at)
            let bytes = UnsafeMutableRawBufferPointer(start: piece.start, count: count)
            // A file may end within the padding of its last batch.
            let found = try file.file.read(into: bytes, at: at)
            guard found > 0 else { break }
            let length = WALBlock.roundedUp(found)
            (piece.start + found).initializeMemory(
                as: UInt8.self,
                repeating: 0,
                count: length - found
            )
            try file.file.write(UnsafeRawBufferPointer(start: piece.start, count: length), at: at)
            at += length
        }
        try file.file.sync()
    }
}

/// Reads the log after a start, each file once, in order, and finds its end.
///
/// | at the first batch that is not intact | it is |
/// |---|---|
/// | a later file goes on with exactly the number wanted here | the end of this file |
/// | an intact batch header lies behind it, here or in a later file | damage: refused |
/// | the marker of a clean shutdown names another end | damage: refused |
/// | nothing behind it | the end of the log; a torn batch here was never acknowledged |
package struct WALRecovery: ~Copyable {
    package typealias RecordHandler = (WALRecordHeader, ByteSlice, WALPosition) throws -> Void

    /// Where the batches of a file ended.
    private struct Ended {
        let file: WALFile
        let path: String
        let offset: Int
        let lastBatch: Int
        let hasBatches: Bool
    }

    private let files: FileSystem
    private let directory: String
    private let onRecord: RecordHandler
    private var expected: UInt64?
    private var ended: [Ended] = []

    private init(_ files: FileSystem, _ directory: String, _ onRecord: @escaping RecordHandler) {
        self.files = files
        self.directory = directory
        self.onRecord = onRecord
    }

    /// Hands every record of the log to `onRecord`, in order; `nil` when there is no log yet.
    static func run(
        _ files: FileSystem,
        _ directory: String,
        _ onRecord: RecordHandler
    ) throws(WALError) -> (files: RecoveredFiles, end: LogEnd)? {
        try withoutActuallyEscaping(onRecord) { (onRecord) throws(WALError) in
            var recovery = WALRecovery(files, directory, onRecord)
            return try recovery.run()
        }
    }

    private mutating func run() throws(WALError) -> (files: RecoveredFiles, end: LogEnd)? {
        let names: [String]
        do {
            names = try files.list(directory)
        } catch {
            throw .file(error)
        }
        let marker = try CleanShutdownMarker.read(files, directory)
        for name in names where FileName.sequence(of: name) != nil { try read(name) }
        let last = ended.lastIndex { $0.hasBatches } ?? 0
        guard last < ended.count else {
            guard marker == nil else { throw missingEnd(of: marker) }
            return nil
        }
        let end = LogEnd(
            file: ended[last].file,
            offset: ended[last].offset,
            nextNumber: expected ?? 1,
            lastBatch: ended[last].lastBatch
        )
        if let marker, !marker.names(end) { throw missingEnd(of: marker) }
        if marker == nil { try refuseDamage(from: last, end) }
        var found = RecoveredFiles()
        found.live = ended[...last].map(\.file)
        found.next = ended[(last + 1)...].map(\.file)
        found.free = names.filter { $0.hasSuffix(".free") }
        found.nextSequence = (ended.last?.file.sequence ?? 0) + 1
        return (found, end)
    }

    // MARK: One file

    private mutating func read(_ name: String) throws(WALError) {
        let path = directory + "/" + name
        do {
            let file = try files.open(path, .readWrite, direct: true)
            switch try BatchScanner.open(file) {
            case .unknownVersion(let version):
                throw WALError.unsupportedFormat(file: path, version: version)
            case .damaged: throw Self.damaged(path, 0)
            case .scanner(var scanner):
                guard scanner.header.sequence == FileName.sequence(of: name) else {
                    throw Self.damaged(path, 0)
                }
                try readBatches(&scanner, file, path)
            }
        } catch let error as FileError {
            throw .file(error)
        } catch let error as WALError {
            throw error
        } catch {
            throw .rejected(file: path, offset: 0, reason: "\(error)")
        }
    }

    private mutating func readBatches(
        _ scanner: inout BatchScanner,
        _ file: File,
        _ path: String
    ) throws {
        var offset = WALBlock.size
        var lastBatch = offset
        var hasBatches = false
        while let batch = try scanner.intactBatch(at: offset) {
            if let expected, batch.number != expected {
                throw gap(in: path, at: offset, hasBatches)
            }
            if !hasBatches, let previous = ended.last, !previous.hasBatches {
                throw Self.damaged(previous.path, previous.offset)
            }
            try scanner.forEachRecord(of: batch, path: path, onRecord)
            expected = batch.number + 1
            lastBatch = offset
            offset += batch.paddedLength
            hasBatches = true
        }
        ended.append(
            Ended(
                file: WALFile(
                    file,
                    header: scanner.header,
                    capacity: max(WALBlock.roundedDown(scanner.size), offset)
                ),
                path: path,
                offset: offset,
                lastBatch: lastBatch,
                hasBatches: hasBatches
            )
        )
    }

    // MARK: Damage

    /// Looks for batches behind the end that was found.
    private func refuseDamage(from last: Int, _ end: LogEnd) throws(WALError) {
        do {
            for (index, place) in ended.enumerated() where index >= last {
                guard case .scanner(var scanner) = try BatchScanner.open(place.file.file) else {
                    throw Self.damaged(place.path, 0)
                }
                var offset = place.offset
                // The batch a crash interrupted, here or at the start of the next file; not there
                // if this one has none, because an empty file is never left behind.
                if let torn = try scanner.batchHeader(at: offset),
                    expected == nil ? index == last : torn.number == end.nextNumber
                {
                    offset += WALBlock.size
                }
                if try scanner.hasBatch(from: expected ?? 0, atOrBehind: offset) {
                    throw Self.damaged(ended[last].path, end.offset)
                }
            }
        } catch let error as FileError {
            throw .file(error)
        } catch let error as WALError {
            throw error
        } catch {
            throw .rejected(file: directory, offset: 0, reason: "\(error)")
        }
    }

    private func gap(in path: String, at offset: Int, _ hasBatches: Bool) -> WALError {
        // In one file the damaged place is here, otherwise where the file before ended.
        if hasBatches { return Self.damaged(path, offset) }
        guard let previous = ended.last(where: \.hasBatches) else {
            return Self.damaged(path, offset)
        }
        return Self.damaged(previous.path, previous.offset)
    }

    private func missingEnd(of marker: CleanShutdownMarker?) -> WALError {
        let name = marker.map { FileName.log($0.sequence) } ?? FileName.cleanShutdown
        return Self.damaged(directory + "/" + name, Int(clamping: marker?.offset ?? 0))
    }

    private static func damaged(_ path: String, _ offset: Int) -> WALError {
        .damaged(
            file: path,
            offset: offset,
            remedy: """
                data that was acknowledged is missing here, so nothing was changed. Restore the \
                directory from a copy; on a replica, empty the data directory and let it catch \
                up from its peers
                """
        )
    }
}

extension CleanShutdownMarker {
    fileprivate func names(_ end: LogEnd) -> Bool {
        sequence == end.file.sequence && offset == UInt64(end.offset)
            && nextNumber == end.nextNumber
    }
}

extension WALRecovery {
    /// Reads the bytes of one file as recovery does, whatever they are.
    ///
    /// For fuzzing: never traps, and hands out only records whose CRCs are right.
    package static func scan(_ bytes: ByteSlice, onRecord: RecordHandler) {
        do {
            guard case .scanner(var scanner) = try BatchScanner.open(BytesAsFile(bytes)) else {
                return
            }
            var offset = WALBlock.size
            while let batch = try scanner.intactBatch(at: offset) {
                try scanner.forEachRecord(of: batch, path: "", onRecord)
                offset += batch.paddedLength
            }
            _ = try scanner.hasBatch(from: 0, atOrBehind: offset)
        } catch {
            return
        }
    }
}

/// A file that is memory.
private final class BytesAsFile: File, @unchecked Sendable {
    // Unchecked: immutable.
    private let bytes: ByteSlice

    init(_ bytes: ByteSlice) {
        self.bytes = bytes
        super.init(path: "")
    }

    override func size() throws(FileError) -> Int { bytes.count }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        let part = bytes.dropFirst(offset).prefix(buffer.count)
        part.withUnsafeBytes { buffer.copyMemory(from: $0) }
        return part.count
    }
}
