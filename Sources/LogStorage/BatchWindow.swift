import Bytes
import KafkaProtocol
import Platform

/// The newest batches of a partition, in memory, in order and without gaps.
struct BatchWindow {
    private struct Slot {
        let baseOffset: Int64
        let nextOffset: Int64
        let maxTimestamp: Int64
        let bytes: ByteSlice
    }

    private var slots: [Slot] = []
    private var first = 0
    /// Place of the first batch that is in no segment.
    private var firstUnflushed = 0
    private(set) var bytes = 0
    private(set) var unflushedBytes = 0

    var firstOffset: Offset? { first < slots.count ? Offset(slots[first].baseOffset) : nil }

    mutating func append(_ batch: RecordBatch) {
        slots.append(
            Slot(
                baseOffset: batch.baseOffset.rawValue,
                nextOffset: batch.nextOffset.rawValue,
                maxTimestamp: batch.maxTimestamp,
                bytes: batch.bytes
            )
        )
        bytes += batch.bytes.count
        unflushedBytes += batch.bytes.count
    }

    func read(from offset: Offset, maxBytes: Int, minOneBatch: Bool) -> ByteRope {
        var place = place(of: offset.rawValue)
        #if CHRONIK_PLANT
        if PlantedMistake.inForce == .fetchSkips, offset.rawValue % 64 == 63 {
            place = min(place + 1, slots.count - 1)
        }
        #endif
        var out = ByteWriter(capacity: 64)
        var left = maxBytes
        var mustTake = minOneBatch
        while place < slots.count, slots[place].bytes.count <= left || mustTake {
            // Small batches are gathered into one piece, large ones go as they are.
            out.write(slots[place].bytes)
            left -= slots[place].bytes.count
            mustTake = false
            place += 1
        }
        return out.finish()
    }

    /// The batch that holds an offset: the first that ends after it.
    private func place(of offset: Int64) -> Int {
        var (low, high) = (first, slots.count)
        while low < high {
            let middle = (low + high) / 2
            if slots[middle].nextOffset <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func firstRecord(from timestamp: Int64, logStart: Offset) -> TimeLookup.Found? {
        for slot in slots[first...]
        where slot.maxTimestamp >= timestamp && slot.nextOffset > logStart.rawValue {
            let batch = RecordBatch(committed: slot.bytes)
            let found = TimeLookup.firstRecord(in: batch, from: timestamp, logStart: logStart)
            if let found { return found }
        }
        return nil
    }

    var batchOfMaxTimestamp: RecordBatch? {
        slots[first...].max { $0.maxTimestamp < $1.maxTimestamp }
            .map { RecordBatch(committed: $0.bytes) }
    }

    var unflushed: [RecordBatch] {
        slots[firstUnflushed...].map { RecordBatch(committed: $0.bytes) }
    }

    /// Everything below `offset` is in segments; returns how many bytes that newly are.
    mutating func markFlushed(through offset: Offset) -> Int {
        var count = 0
        while firstUnflushed < slots.count, slots[firstUnflushed].nextOffset <= offset.rawValue {
            count += slots[firstUnflushed].bytes.count
            firstUnflushed += 1
        }
        unflushedBytes -= count
        return count
    }

    /// Drops batches below `offset`, all of which are in segments; returns their bytes.
    mutating func evict(through offset: Offset) -> Int {
        let start = first
        var count = 0
        while first < firstUnflushed, slots[first].nextOffset <= offset.rawValue {
            count += slots[first].bytes.count
            first += 1
        }
        bytes -= count
        // The memory of the dropped slots is given back with the array's next compaction; their
        // batches are given back now.
        if first == slots.count || first - start > 0 && first > slots.count / 2 || first > 1024 {
            slots.removeFirst(first)
            firstUnflushed -= first
            first = 0
        } else {
            for place in start..<first {
                slots[place] = Slot(
                    baseOffset: 0,
                    nextOffset: slots[place].nextOffset,
                    maxTimestamp: -1,
                    bytes: ByteSlice()
                )
            }
        }
        return count
    }
}
