import Bytes
import FuzzDriver
import Platform

@testable import WriteAheadLog

/// A log written by somebody who knows every checksum: whatever it says, nothing traps, and what
/// is accepted can be gone on with.
struct ForgedLog {
    private static let maxFileBytes = 64 << 10

    private let files = FaultyFileSystem()
    private var path = ""
    private var header = FileHeader(sequence: 0, checksum: 0)
    private var at = WALBlock.size
    private var sequence: UInt64 = 1
    private var number: UInt64 = 1
    /// It may be refused once it was gone on with.
    ///
    /// A number was so large that the next ones are, or lies behind a higher one; or a marker named
    /// an end behind which nobody looks until it is gone. No log that was only damaged is like that.
    private var mayEnd = false

    static func check(_ input: inout FuzzInput) {
        var forged = ForgedLog()
        forged.addFile(&input)
        while !input.isEmpty { forged.step(&input) }
        let life: LogLife
        do throws(WALError) {
            life = try LogLife(forged.files)
        } catch {
            return
        }
        guard !forged.mayEnd else { return }
        life.checkGoesOn(forged.files, closing: forged.number % 2 == 0)
    }

    private mutating func step(_ input: inout FuzzInput) {
        switch input.byte() % 8 {
        case 0: addFile(&input)
        case 1, 2: addBatch(&input)
        case 3: addMarker(&input)
        case 4: go(to: WALBlock.size * (1 + Int(input.byte() & 7)))
        case 5:
            let place = input.below(Self.maxFileBytes)
            put(input.slice(Int(input.byte())).array, at: place)
        case 6:
            let size = input.below(Self.maxFileBytes)
            files.change(path) { if $0.count > size { $0.removeLast($0.count - size) } }
        default:
            let names = [
                "0000000000000001.free", "0000000000000009.new", "x.wal", "clean-shutdown",
            ]
            let name = names[Int(input.byte() & 3)]
            make("/wal/" + name, input.slice(Int(input.byte())).array)
        }
    }

    private mutating func choose(_ input: inout FuzzInput, above least: UInt64) -> UInt64 {
        let chosen: UInt64 = input.integer()
        if chosen < least || chosen > (.max >> 1) - 1_000 { mayEnd = true }
        return chosen
    }

    private mutating func go(to offset: Int) {
        if offset < at { mayEnd = true }
        at = offset
    }

    private func make(_ path: String, _ bytes: [UInt8]) {
        guard (try? files.open(path, .create, direct: false)) != nil else {
            finding("\(path) cannot be made")
        }
        files.change(path) { $0 = bytes }
    }

    private func put(_ new: [UInt8], at offset: Int) {
        files.change(path) { bytes in
            guard offset < Self.maxFileBytes else { return }
            let end = min(Self.maxFileBytes, offset + new.count)
            if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
            for (index, byte) in zip(offset..<end, new) { bytes[index] = byte }
        }
    }

    private mutating func addFile(_ input: inout FuzzInput) {
        let flags = input.byte()
        if flags & 1 == 1 { sequence = choose(&input, above: sequence) }
        let block = AlignedBlock.zeroed(WALBlock.size)
        header = FileHeader.encode(
            sequence: flags & 2 == 0 ? sequence : input.integer(),
            salt: UInt64(flags),
            into: block.start
        )
        path = "/wal/" + FileName.log(sequence)
        make(path, block.slice(0..<WALBlock.size).array)
        put([], at: WALBlock.size * (1 + Int(flags >> 5)))
        at = WALBlock.size
        sequence &+= 1
    }

    private mutating func addBatch(_ input: inout FuzzInput) {
        let flags = input.byte()
        let records = (0..<flags & 3).map { _ in record(&input) }
        if flags & 4 != 0 { number = choose(&input, above: number) }
        let length = records.reduce(BatchHeader.size) { $0 + $1.encodedBytes }
        var batch = BatchHeader(
            sequence: flags & 8 == 0 ? header.sequence : input.integer(),
            number: number,
            life: 1,
            offset: at,
            length: flags & 16 == 0 ? length : Int(input.integer(UInt32.self)),
            count: flags & 32 == 0 ? records.count : Int(input.integer(UInt32.self)),
            highestTerm: 1
        )
        let block = AlignedBlock.zeroed(length)
        batch.encode(into: block.start, fileChecksum: header.checksum)
        var place = BatchHeader.size
        for record in records {
            let start = block.start + place
            WALRecordHeader.encode(record, seed: batch.checksum, into: start)
            record.payload.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(
                    start: start + WALRecordHeader.size,
                    count: record.payload.count
                ).copyMemory(from: $0)
            }
            if flags & 64 != 0 { forge(start, record, batch.checksum, &input) }
            place += record.encodedBytes
        }
        put(block.slice(0..<length).array, at: at)
        if flags & 128 == 0 { put([], at: at + WALBlock.roundedUp(length)) }
        at += WALBlock.roundedUp(length)
        number &+= 1
    }

    /// Gives a record a kind and a length of the input's choice, and the checksum that goes with it.
    private func forge(
        _ start: UnsafeMutableRawPointer,
        _ record: WALRecord,
        _ seed: UInt32,
        _ input: inout FuzzInput
    ) {
        start.storeLittleEndian(UInt32(input.byte()), at: 36)
        let choice = input.byte()
        if choice & 1 == 1 { start.storeLittleEndian(input.integer(UInt32.self), at: 4) }
        let checksum = WALRecordHeader.checksum(
            of: UnsafeRawPointer(start),
            payload: UnsafeRawBufferPointer(
                start: start + WALRecordHeader.size,
                count: record.payload.count
            ),
            seed: seed
        )
        start.storeLittleEndian(checksum, at: 0)
    }

    private func record(_ input: inout FuzzInput) -> WALRecord {
        let kinds = WALRecord.Kind.allCases
        return WALRecord(
            group: UInt64(input.byte()),
            kind: kinds[Int(input.byte()) % kinds.count],
            term: 1,
            index: UInt64(input.byte()),
            payload: ByteSlice([UInt8](repeating: 7, count: input.below(6_000)))
        )
    }

    private mutating func addMarker(_ input: inout FuzzInput) {
        mayEnd = true
        let flags = input.byte()
        let marker = CleanShutdownMarker(
            sequence: flags & 1 == 0 ? header.sequence : input.integer(),
            offset: flags & 2 == 0 ? UInt64(at) : input.integer(),
            nextNumber: flags & 4 == 0 ? number : input.integer(),
            highestTerm: 1
        )
        make("/wal/" + FileName.cleanShutdown, marker.encoded().array)
    }
}
