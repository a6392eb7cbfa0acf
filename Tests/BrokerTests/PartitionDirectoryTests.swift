import KafkaMessages
import Platform
import Simulator
import Testing

@testable import Broker
@testable import LogStorage

/// What a power cut leaves of a partition's directory.
@Suite struct PartitionDirectoryTests {
    private static let path = "/data/topics/orders-0"

    private static func directory(seed: UInt64) -> (PartitionDirectory, SimulatedFileSystem) {
        let disk = SimulatedFileSystem(Simulation(seed: seed))
        return (PartitionDirectory(path: path, files: disk), disk)
    }

    private static func restart(_ disk: SimulatedFileSystem) {
        disk.cutPower()
        disk.powerOn()
    }

    @Test(arguments: Array(1...40) as [UInt64])
    func `a directory with a checkpoint says whose it is`(seed: UInt64) throws {
        let (directory, disk) = Self.directory(seed: seed)
        let id = KafkaUUID(high: 7, low: seed)
        try directory.claim(for: id)
        try Checkpoint().write(to: Self.path, disk)
        Self.restart(disk)
        #expect(directory.isClaimed)
        // For anybody else it would be emptied.
        try directory.claim(for: id)
        #expect(disk.exists(Self.path + "/" + Checkpoint.fileName))
    }

    @Test(arguments: Array(1...40) as [UInt64])
    func `one without is made anew, whatever is left of it`(seed: UInt64) throws {
        let (directory, disk) = Self.directory(seed: seed)
        try directory.claim(for: KafkaUUID(high: 7, low: 1))
        if seed % 2 == 0 {
            try Checkpoint().write(to: Self.path, disk)
            try directory.claim(for: KafkaUUID(high: 7, low: 2))
        }
        Self.restart(disk)
        let id = KafkaUUID(high: 7, low: 3)
        try directory.claim(for: id)
        #expect(!disk.exists(Self.path + "/" + Checkpoint.fileName))
        try Checkpoint().write(to: Self.path, disk)
        Self.restart(disk)
        try directory.claim(for: id)
        #expect(disk.exists(Self.path + "/" + Checkpoint.fileName))
    }
}
