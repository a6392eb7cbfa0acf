internal import Platform

/// The end of the log: writes one group after the other and makes each durable.
final class GroupWriter: @unchecked Sendable {
    // Unchecked: confined to the run that the intake has planned, of which there is one at a time.
    enum Outcome {
        /// Durable, with a place for each record of each batch.
        case durable([[WALPosition]])
        /// The disk has no room; nothing was written.
        case full(FileError)
        /// What reached the disk is unknown.
        case failed(FileError)
    }

    private let inventory: FileInventory
    private let configuration: WALConfiguration
    private let clock: any Clock
    private let metrics: WALMetrics
    private var encoder: BatchEncoder
    private var file: WALFile
    private(set) var end: Int
    private(set) var nextNumber: UInt64
    private var highestTerm: UInt64
    private let life: UInt64
    /// What an fdatasync takes, in nanoseconds, averaged over the last few.
    private(set) var typicalSync = Int64.max
    /// The log has taken more of the disk since the last look.
    private var hasGrown = false

    init(
        _ configuration: WALConfiguration,
        inventory: FileInventory,
        clock: any Clock,
        metrics: WALMetrics,
        end: LogEnd,
        life: UInt64
    ) {
        self.configuration = configuration
        self.inventory = inventory
        self.clock = clock
        self.metrics = metrics
        encoder = BatchEncoder(maxWriteBytes: configuration.maxWriteBytes)
        file = end.file
        self.end = end.offset
        nextNumber = end.nextNumber
        highestTerm = end.highestTerm
        self.life = life
    }

    var marker: CleanShutdownMarker {
        CleanShutdownMarker(
            sequence: file.sequence,
            offset: UInt64(end),
            nextNumber: nextNumber,
            highestTerm: highestTerm
        )
    }

    /// True once after a file was begun or grew.
    func takeHasGrown() -> Bool {
        defer { hasGrown = false }
        return hasGrown
    }

    func commit(_ group: [WALBatch]) -> Outcome {
        let count = group.reduce(0) { $0 + $1.records.count }
        guard count > 0 else { return .durable(group.map { _ in [] }) }
        let length = group.reduce(BatchHeader.size) { $0 + $1.bytes }
        do {
            try makeRoom(for: WALBlock.roundedUp(length))
        } catch {
            guard error.reason == .noSpace else { return .failed(error) }
            CoverageMark.walDiskFull.hit()
            return .full(error)
        }
        for batch in group { highestTerm = max(highestTerm, batch.highestTerm) }
        var header = BatchHeader(
            sequence: file.sequence,
            number: nextNumber,
            life: life,
            offset: end,
            length: length,
            count: count,
            highestTerm: highestTerm
        )
        let began = clock.monotonicNanoseconds
        do {
            let positions = try encoder.write(group, as: &header, to: file, at: end)
            let written = clock.monotonicNanoseconds
            if configuration.syncs { try sync() }
            let durable = clock.monotonicNanoseconds
            observe(sync: durable - written)
            nextNumber += 1
            end += header.paddedLength
            metrics.count(group: group.count, records: count, bytes: header.paddedLength)
            if configuration.syncs {
                metrics.fdatasyncs.increment()
                metrics.syncLatency.record(durable - written)
            }
            metrics.commitLatency.record(durable - began)
            if end > file.capacity / 2 { inventory.wantNext() }
            return .durable(positions)
        } catch {
            return .failed(error)
        }
    }

    private func sync() throws(FileError) {
        #if CHRONIK_PLANT
        switch PlantedMistake.inForce {
        case .logNotSynced: return
        case .syncErrorIgnored:
            try? file.file.sync()
            return
        default: break
        }
        #endif
        try file.file.sync()
    }

    private func observe(sync nanoseconds: Int64) {
        guard typicalSync != .max else {
            typicalSync = nanoseconds
            return
        }
        typicalSync += (nanoseconds - typicalSync) / 8
    }

    /// Finds room for `bytes` behind the last batch: in this file, in the next, or by growing.
    ///
    /// An empty file is never left behind, so that one without a batch before one with batches is
    /// always damage.
    private func makeRoom(for bytes: Int) throws(FileError) {
        guard end + bytes > file.capacity else { return }
        if end > WALBlock.size {
            if let next = inventory.takeNext() {
                file = next
                end = WALBlock.size
                hasGrown = true
            } else {
                inventory.wantNext()
            }
        }
        let missing = end + bytes - file.capacity
        guard missing > 0 else { return }
        guard file.capacity + missing <= Int(UInt32.max) - configuration.growthBytes else {
            // Files this far over their size mean that none could be made for a long time.
            throw FileError(.noSpace, operation: "grow", path: file.file.path)
        }
        CoverageMark.walFileGrown.hit()
        try file.grow(by: WALBlock.roundedUp(max(missing, configuration.growthBytes)))
        inventory.grew()
        hasGrown = true
    }
}

extension WALMetrics {
    func count(group batchCount: Int, records recordCount: Int, bytes byteCount: Int) {
        batches.increment(by: batchCount)
        records.increment(by: recordCount)
        bytes.increment(by: byteCount)
        lastGroupRecords.set(recordCount)
        groupRecords.record(Int64(recordCount))
        groupBytes.record(Int64(byteCount))
    }
}
