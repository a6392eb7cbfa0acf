import KafkaMessages
import Platform
import Simulator
import Testing

@testable import Broker

@Suite(.timeLimit(.minutes(10))) struct DataDirectoryTests {
    private let files = SimulatedFileSystem(Simulation(seed: 1))

    private func open(_ node: Int32 = 1, ids: [UInt64] = [1, 2]) throws -> DataDirectory {
        var ids = ids
        return try DataDirectory.open("/data", nodeID: node, files: files) {
            KafkaUUID(high: 0, low: ids.removeFirst())
        }
    }

    private var meta: String {
        String(decoding: files.contents("/data/meta.properties"), as: UTF8.self)
    }

    @Test func `a new directory gets an id of its own and keeps it`() throws {
        do {
            let made = try open()
            #expect(made.isNew && made.directoryID == KafkaUUID(high: 0, low: 2))
        }
        let again = try open(ids: [])
        #expect(!again.isNew && again.directoryID == KafkaUUID(high: 0, low: 2))
        #expect(again.clusterID == "\(KafkaUUID(high: 0, low: 1))")
        #expect(meta.contains("directory.id=\(KafkaUUID(high: 0, low: 2))\n"))
    }

    @Test func `a disk that was emptied comes back with another id`() throws {
        let first = try open().directoryID
        try files.removeTree("/data")
        let second = try open(ids: [1, 3])
        #expect(second.isNew && second.directoryID != first)
    }

    @Test func `a directory from before there were ids gets one`() throws {
        do { _ = try open() }
        files.damage("/data/meta.properties") { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            let lines = text.split(separator: "\n").filter { !$0.hasPrefix("directory.id") }
            bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
        }
        do {
            let opened = try open(ids: [9])
            #expect(!opened.isNew && opened.directoryID == KafkaUUID(high: 0, low: 9))
        }
        #expect(try open(ids: []).directoryID == KafkaUUID(high: 0, low: 9))
    }

    @Test func `an id that cannot be read is refused`() throws {
        do { _ = try open() }
        files.damage("/data/meta.properties") { bytes in
            bytes = Array(String(decoding: bytes, as: UTF8.self).utf8.dropLast(3)) + [0x0A]
        }
        #expect(throws: DataDirectoryProblem.self) { try open() }
    }

    @Test func `a log without the file that says whose it is is refused`() throws {
        do { _ = try open() }
        try files.createDirectory("/data/wal")
        try files.remove("/data/meta.properties")
        #expect {
            try open()
        } throws: { error in
            (error as? DataDirectoryProblem)?.description.contains("new node id") == true
        }
    }

    @Test func `an id is read as it was written`() {
        for (high, low): (UInt64, UInt64) in [(0, 0), (.max, .max), (0x0123_4567_89AB_CDEF, 42)] {
            let id = KafkaUUID(high: high, low: low)
            #expect(KafkaUUID("\(id)") == id)
        }
        #expect(KafkaUUID("") == nil && KafkaUUID("AAAAAAAAAAAAAAAAAAAAAB") == nil)
        #expect(KafkaUUID("AAAAAAAAAAAAAAAAAAAA!A") == nil)
    }
}
