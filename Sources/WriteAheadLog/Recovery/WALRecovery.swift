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
    /// Where the last batch begins; `offset` if the file has none that is whole.
    let lastBatch: Int
    /// Of any record in the log.
    let highestTerm: UInt64

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

/// Records that were durable once and cannot be read any more.
package struct WALDamage: Equatable, Sendable, CustomStringConvertible {
    package let file: String
    /// Where in it the first of them began.
    package let offset: Int
    /// None of them had a higher term, nor has any record before them.
    package let highestTerm: UInt64

    package var description: String { "\(file) is damaged at byte \(offset)" }
}

/// Reads the log after a start, each file once, in order, and finds its end.
///
/// | at the first batch that is not intact | it is |
/// |---|---|
/// | a later file goes on with exactly the number wanted here | the end of this file |
/// | an intact batch header lies behind it, here or in a later file | damage |
/// | the marker of a clean shutdown names another end | damage |
/// | nothing behind it | the end of the log; a torn batch here was never acknowledged |
///
/// Damage is refused, unless there is somebody to tell: then reading goes on with the next intact
/// batch. It is refused all the same where nothing behind it says how far terms had gone.
package struct WALRecovery: ~Copyable {
    package typealias RecordHandler = (WALRecordHeader, ByteSlice, WALPosition) throws -> Void
    typealias DamageHandler = (WALDamage) throws -> Void

    /// A file, and how far it has been read.
    private struct Place {
        let file: WALFile
        let path: String
        /// The end of the last batch found in it.
        var offset = WALBlock.size
        var lastBatch = WALBlock.size
        var hasBatches = false
        /// It has no intact header, so nothing in it can be made out.
        var isUnreadable = false
    }

    private let files: FileSystem
    private let directory: String
    private let onDamage: DamageHandler?
    private let onRecord: RecordHandler
    private var expected: UInt64?
    private var highestTerm: UInt64 = 0
    private var places: [Place] = []
    /// Damage that was found, but not yet what is behind it.
    private var damage: (path: String, offset: Int)?
    private var marker: CleanShutdownMarker?

    private init(
        _ files: FileSystem,
        _ directory: String,
        _ onDamage: DamageHandler?,
        _ onRecord: @escaping RecordHandler
    ) {
        self.files = files
        self.directory = directory
        self.onDamage = onDamage
        self.onRecord = onRecord
    }

    /// Hands every record of the log to `onRecord`, in order; `nil` when there is no log yet.
    static func run(
        _ files: FileSystem,
        _ directory: String,
        _ onDamage: DamageHandler?,
        _ onRecord: RecordHandler
    ) throws(WALError) -> (files: RecoveredFiles, end: LogEnd)? {
        try withoutActuallyEscaping(onRecord) { (onRecord) throws(WALError) in
            var recovery = WALRecovery(files, directory, onDamage, onRecord)
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
        marker = try CleanShutdownMarker.read(files, directory)
        for name in names where FileName.sequence(of: name) != nil {
            try inPlace(directory + "/" + name) { (recovery) throws in try recovery.read(name) }
        }
        guard !places.isEmpty else {
            guard marker == nil else { throw missingEnd }
            return nil
        }
        if !isAtMarker { try inPlace(directory) { (recovery) throws in try recovery.searchEnd() } }
        let last = lastPlace
        if let unreadable = places[last...].first(where: \.isUnreadable) {
            throw Self.damaged(unreadable.path, 0)
        }
        var found = RecoveredFiles()
        found.live = places[...last].map(\.file)
        found.next = places[(last + 1)...].map(\.file)
        found.free = names.filter { $0.hasSuffix(".free") }
        found.nextSequence = (places.last?.file.sequence ?? 0) + 1
        let end = LogEnd(
            file: places[last].file,
            offset: places[last].offset,
            nextNumber: expected ?? 1,
            lastBatch: places[last].lastBatch,
            highestTerm: highestTerm
        )
        return (found, end)
    }

    private mutating func inPlace(
        _ path: String,
        _ body: (inout WALRecovery) throws -> Void
    ) throws(WALError) {
        do {
            try body(&self)
        } catch let error as FileError {
            throw .file(error)
        } catch let error as WALError {
            throw error
        } catch {
            throw .rejected(file: path, offset: 0, reason: "\(error)")
        }
    }

    /// The last place with batches; the first if none has.
    private var lastPlace: Int { places.lastIndex { $0.hasBatches } ?? 0 }

    private var isAtMarker: Bool {
        guard let marker else { return false }
        let last = places[lastPlace]
        return marker.sequence == last.file.sequence && marker.offset == UInt64(last.offset)
            && marker.nextNumber == expected ?? 1
    }

    // MARK: One file

    private mutating func read(_ name: String) throws {
        let path = directory + "/" + name
        let sequence = FileName.sequence(of: name) ?? 0
        let file = try files.open(path, .readWrite, direct: true)
        switch try BatchScanner.open(file) {
        case .unknownVersion(let version):
            throw WALError.unsupportedFormat(file: path, version: version)
        case .scanner(var scanner) where scanner.header.sequence == sequence:
            let capacity = max(WALBlock.roundedDown(scanner.size), WALBlock.size)
            let place = WALFile(file, header: scanner.header, capacity: capacity)
            places.append(Place(file: place, path: path))
            try readOn(&scanner)
        default:
            try note(damageIn: path, at: 0)
            // Kept in its turn, so that it is given back with its neighbours.
            let header = FileHeader(sequence: sequence, checksum: 0)
            let place = WALFile(file, header: header, capacity: WALBlock.size)
            places.append(Place(file: place, path: path, isUnreadable: true))
        }
    }

    /// Reads the last of the places as far as it goes on where the one before ended; whatever else
    /// is in it lies behind damage.
    private mutating func readOn(_ scanner: inout BatchScanner) throws {
        let index = places.count - 1
        guard let first = try scanner.intactBatch(at: WALBlock.size),
            expected.map({ first.number == $0 }) ?? (index == 0)
        else {
            if let marker, places[index].file.sequence > marker.sequence { return }
            let header = try scanner.nextHeader(from: expected ?? 0, atOrBehind: WALBlock.size)
            // Empty, or with a torn batch: the next file or the end of the search will tell.
            guard let header, try scanner.intactBatch(at: header.offset) != nil else { return }
            for place in min(lastPlace, index)..<index { try search(place) }
            try search(index, &scanner)
            return
        }
        if index > 0 && !places[index - 1].hasBatches && !places[index - 1].isUnreadable {
            // An empty file is never left behind.
            try note(damageIn: places[index - 1].path, at: places[index - 1].offset)
        }
        var next = Optional(first)
        while let batch = next, batch.number == expected ?? batch.number {
            try take(batch, of: &scanner, index)
            next = try scanner.intactBatch(at: places[index].offset)
        }
    }

    private mutating func take(
        _ batch: BatchHeader,
        of scanner: inout BatchScanner,
        _ index: Int
    ) throws {
        highestTerm = max(highestTerm, batch.highestTerm)
        try tellDamage()
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .recoveryDropsRecords {
            var left = batch.count
            try scanner.forEachRecord(of: batch, path: places[index].path) { a, b, c in
                left -= 1
                if left > 0 { try onRecord(a, b, c) }
            }
            return passed(batch, index)
        }
        #endif
        try scanner.forEachRecord(of: batch, path: places[index].path, onRecord)
        passed(batch, index)
    }

    private mutating func passed(_ batch: BatchHeader, _ index: Int) {
        expected = batch.number + 1
        places[index].lastBatch = batch.offset
        places[index].offset = batch.offset + batch.paddedLength
        places[index].hasBatches = true
    }

    // MARK: Damage

    private mutating func search(_ index: Int) throws {
        guard !places[index].isUnreadable else { return }
        guard case .scanner(var scanner) = try BatchScanner.open(places[index].file.file) else {
            throw Self.damaged(places[index].path, 0)
        }
        try search(index, &scanner)
    }

    /// Takes the batches behind the end that was found in a file; there are none without damage.
    private mutating func search(_ index: Int, _ scanner: inout BatchScanner) throws {
        var at = places[index].offset
        while let header = try scanner.nextHeader(from: expected ?? 0, atOrBehind: at) {
            at = header.offset + WALBlock.size
            let intact = try scanner.intactBatch(at: header.offset)
            if intact == nil && isTorn(header, index) { continue }
            let known = places[lastPlace]
            let follows = header.number == expected && header.offset == places[index].offset
            if intact == nil || !follows { try note(damageIn: known.path, at: known.offset) }
            guard let intact else {
                // What lies behind was durable, so this batch was.
                highestTerm = max(highestTerm, header.highestTerm)
                expected = header.number + 1
                places[index].offset = header.offset + header.paddedLength
                places[index].lastBatch = places[index].offset
                places[index].hasBatches = true
                continue
            }
            try take(intact, of: &scanner, index)
            at = places[index].offset
        }
    }

    /// Whether it may be the batch a crash interrupted, here or at the start of the next file; not
    /// there if this one has none, because an empty file is never left behind.
    private func isTorn(_ header: BatchHeader, _ index: Int) -> Bool {
        header.offset == places[index].offset
            && (expected == nil ? index == lastPlace : header.number == expected)
    }

    private mutating func searchEnd() throws {
        for index in lastPlace..<places.count { try search(index) }
        if let marker, !isAtMarker {
            let last = places[lastPlace]
            guard let index = places.firstIndex(where: { $0.file.sequence == marker.sequence }),
                index >= lastPlace, !places[index].isUnreadable,
                marker.offset >= UInt64(places[index].offset), marker.offset < 1 << 32,
                WALBlock.roundedDown(Int(marker.offset)) == Int(marker.offset),
                marker.nextNumber > expected ?? 1, onDamage != nil
            else { throw missingEnd }
            try note(damageIn: last.path, at: last.offset)
            highestTerm = max(highestTerm, marker.highestTerm)
            expected = marker.nextNumber
            places[index].offset = Int(marker.offset)
            places[index].lastBatch = Int(marker.offset)
            places[index].hasBatches = true
        }
        try tellDamage()
    }

    private mutating func note(damageIn path: String, at offset: Int) throws(WALError) {
        guard onDamage != nil else { throw Self.damaged(path, offset) }
        if damage == nil { damage = (path, offset) }
    }

    private mutating func tellDamage() throws {
        guard let (path, offset) = damage, let onDamage else { return }
        damage = nil
        CoverageMark.walDamageReadOn.hit()
        try onDamage(WALDamage(file: path, offset: offset, highestTerm: highestTerm))
    }

    private var missingEnd: WALError {
        let name = marker.map { FileName.log($0.sequence) } ?? FileName.cleanShutdown
        return Self.damaged(directory + "/" + name, Int(clamping: marker?.offset ?? 0))
    }

    private static func damaged(_ path: String, _ offset: Int) -> WALError {
        .damaged(
            file: path,
            offset: offset,
            remedy: """
                data that was acknowledged is missing here, so nothing was changed. Restore the \
                directory from a copy; in a cluster, take this node out of it and let it join \
                again with an empty directory and a new node id
                """
        )
    }
}
