import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import LogStorage

/// Files that somebody changed: they are told, and nothing wrong is served for right.
@Suite struct DamageTests {
    private func flushed(_ count: Int = 40) throws -> LogFixture {
        var configuration = LogConfiguration(segmentBytes: 3_000)
        configuration.indexIntervalBytes = 300
        let fixture = try LogFixture(configuration: configuration)
        fixture.append(count: count)
        try fixture.flush()
        return fixture
    }

    @Test func `any bit changed in a checkpoint is told`() throws {
        let fixture = try flushed(10)
        let whole = try LogFixture.realFiles.readAll(fixture.path("checkpoint"), limit: 1 << 20)
        for place in 0..<whole.count {
            try fixture.damage("checkpoint") {
                $0 = whole.array
                $0[place] ^= 1 << UInt8(place % 8)
            }
            let damage = #expect(throws: LogDamage.self) { try fixture.reopen() }
            #expect(damage?.description.contains("checkpoint") == true)
            #expect(damage?.description.contains("restore") == true)
        }
    }

    @Test func `a checkpoint cut short is told`() throws {
        let fixture = try flushed(10)
        let whole = try LogFixture.realFiles.readAll(fixture.path("checkpoint"), limit: 1 << 20)
        for count in 0..<whole.count {
            try fixture.damage("checkpoint") { $0 = whole.prefix(count).array }
            #expect(throws: LogDamage.self) { try fixture.reopen() }
        }
        try fixture.damage("checkpoint") { $0 = whole.array }
        try fixture.reopen()
        try fixture.checkAll()
    }

    @Test func `a last segment shorter than it was refuses to open`() throws {
        let fixture = try flushed()
        let last = try #require(fixture.log.replay.segments.last)
        let name = LogFixture.name(last.baseOffset.rawValue)
        try fixture.damage(name) { $0 = Array($0[..<(last.size - 1)]) }
        let damage = #expect(throws: LogDamage.self) { try fixture.reopen() }
        #expect(damage?.path == last.files.logPath)
    }

    @Test func `a segment that is missing or shorter than it was refuses to open`() throws {
        for base in [0, 1] {
            for isMissing in [true, false] {
                let fixture = try flushed()
                let segment = fixture.log.replay.segments[base]
                let name = LogFixture.name(segment.baseOffset.rawValue)
                if isMissing {
                    try LogFixture.realFiles.remove(fixture.path(name))
                } else {
                    try fixture.damage(name) { $0.removeLast() }
                }
                #expect(throws: (any Error).self) { try fixture.reopen() }
            }
        }
    }

    @Test func `a batch without sense in a segment is told, in reading and in looking up`() throws {
        for (place, byte) in [(8, 0x7f), (8, 0xff), (16, 1), (11, 0)] as [(Int, UInt8)] {
            let fixture = try flushed()
            let size = fixture.batches[0].bytes.count
            try fixture.damage(LogFixture.name(0)) { $0[size * 2 + place] = byte }
            try fixture.reopen()
            #expect(throws: (any Error).self) { try fixture.checkAll(maxBytes: size) }
            #expect(throws: (any Error).self) {
                try fixture.log.replay.forEachBatch { _ in }
            }
            #expect(throws: (any Error).self) {
                guard case .cold(let lookup, _) = fixture.log.lookUp(timestamp: 4_000) else {
                    return
                }
                _ = try lookup.perform()
            }
        }
    }

    @Test func `any bit changed in a record is told by replay`() throws {
        let fixture = try flushed(5)
        let size = fixture.batches[0].bytes.count
        for place in stride(from: size + 17, to: size * 2, by: 3) {
            try fixture.damage(LogFixture.name(0)) { $0[place] ^= 0x10 }
            try fixture.reopen()
            #expect(throws: (any Error).self) { try fixture.log.replay.forEachBatch { _ in } }
            try fixture.damage(LogFixture.name(0)) { $0[place] ^= 0x10 }
        }
        try fixture.reopen()
        #expect(throws: Never.self) { try fixture.log.replay.forEachBatch { _ in } }
    }

    @Test func `a damaged index never makes a read skip a record`() throws {
        let fixture = try flushed(20)
        let index = LogFixture.name(0, "index")
        let whole = try LogFixture.realFiles.readAll(fixture.path(index), limit: 1 << 20)
        for place in 0..<whole.count {
            for bit in [0, 3, 7] as [UInt8] {
                try fixture.damage(index) {
                    $0 = whole.array
                    $0[place] ^= 1 << bit
                }
                try fixture.reopen()
                for offset in Int64(0)..<6 {
                    // Right, or refused.
                    guard let (bytes, _) = try? fixture.read(from: offset, maxBytes: 400) else {
                        continue
                    }
                    let first = try? RecordBatch.framed(bytes)
                    #expect(first?.baseOffset == Offset(offset), "byte \(place), bit \(bit)")
                }
            }
        }
    }

    @Test func `a damaged segment never stops the program`() throws {
        let fixture = try flushed(20)
        let name = LogFixture.name(0)
        let whole = try LogFixture.realFiles.readAll(fixture.path(name), limit: 1 << 20)
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<150 {
            try fixture.damage(name) {
                $0 = whole.array
                for _ in 0...generator.below(8) {
                    $0[generator.below($0.count)] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
            try fixture.reopen()
            for offset in [0, 3, 10] as [Int64] {
                _ = try? fixture.read(from: offset, maxBytes: 500)
            }
            try? fixture.log.replay.forEachBatch { _ in }
            if case .cold(let lookup, _) = fixture.log.lookUp(timestamp: 5_000) {
                _ = try? lookup.perform()
            }
        }
    }
}
