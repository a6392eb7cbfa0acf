internal import Bytes
internal import Platform

/// Memory that direct I/O accepts.
enum AlignedBlock {
    static func make(_ capacity: Int) -> ByteStorage {
        ByteStorage(capacity: WALBlock.roundedUp(capacity), alignment: WALBlock.size)
    }

    static func zeroed(_ capacity: Int) -> ByteStorage {
        let block = make(capacity)
        block.start.initializeMemory(as: UInt8.self, repeating: 0, count: block.capacity)
        return block
    }
}
