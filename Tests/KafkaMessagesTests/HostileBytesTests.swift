import Bytes
import KafkaMessages
import Testing

/// Bytes that lie throw: they never stop the program, and never make it take memory for nothing.
@Suite struct HostileBytesTests {
    @Test(arguments: Subject.all)
    func `every message cut short throws`(subject: Subject) throws {
        func check<M: SampledMessage>(_ type: M.Type) throws {
            for version in M.validVersions {
                let bytes = try M.sample(version: version).encoded(version: version)
                for count in 0..<bytes.count {
                    do throws(MalformedBytes) {
                        _ = try M.decoded(bytes.prefix(count).copied(), version: version)
                        Issue.record("\(M.name) \(version): \(count) of \(bytes.count) bytes pass")
                        return
                    } catch {
                        continue
                    }
                }
            }
        }
        try check(subject.type)
    }

    @Test(arguments: Subject.all)
    func `a length that lies anywhere in a message is survived`(subject: Subject) throws {
        func check<M: SampledMessage>(_ type: M.Type) throws {
            let fixed: [[UInt8]] = [
                [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0xfe],
                [0, 0x10, 0, 0],
            ]
            let compact: [[UInt8]] = [
                [0xff, 0xff, 0xff, 0xff, 0x0f], [0xff, 0xff, 0xff, 0xff, 0x07],
                [0x81, 0x80, 0x40], [0x7f],
            ]
            for version in Set([M.validVersions.lowerBound, M.validVersions.upperBound]) {
                let bytes = try M.sample(version: version).encoded(version: version).array
                for lie in M.isFlexible(version: version) ? compact : fixed {
                    for place in 0..<min(bytes.count, 120) {
                        var changed = bytes
                        let end = min(place + lie.count, bytes.count)
                        changed.replaceSubrange(place..<end, with: lie)
                        decodeAgain(M.self, ByteSlice(changed), version)
                    }
                }
            }
        }
        try check(subject.type)
    }

    @Test(arguments: Subject.all)
    func `flipped bits are survived`(subject: Subject) throws {
        func check<M: SampledMessage>(_ type: M.Type) throws {
            var draws = Draws(seed: M.name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
            for version in M.validVersions {
                let bytes = try M.sample(version: version).encoded(version: version).array
                guard !bytes.isEmpty else { continue }
                for _ in 0..<20 {
                    var changed = bytes
                    for _ in 0...draws.below(6) {
                        changed[draws.below(bytes.count)] ^= 1 << UInt8(draws.below(8))
                    }
                    if draws.below(4) == 0 { changed.removeLast(draws.below(bytes.count)) }
                    decodeAgain(M.self, ByteSlice(changed), version)
                }
            }
        }
        try check(subject.type)
    }

    @Test(arguments: Subject.all)
    func `bytes without any sense are survived`(subject: Subject) {
        func check<M: SampledMessage>(_ type: M.Type) {
            var draws = Draws(seed: UInt64(M.name.utf8.count) << 20)
            for version in M.validVersions {
                for _ in 0..<10 {
                    let noise = (0..<draws.below(200)).map { _ in
                        // Small numbers look like lengths and lead deeper.
                        UInt8(draws.below(2) == 0 ? draws.below(4) : draws.below(256))
                    }
                    decodeAgain(M.self, ByteSlice(noise), version)
                }
            }
        }
        check(subject.type)
    }

    /// What could be decoded can be encoded, and then comes back the same.
    private func decodeAgain<M: SampledMessage>(
        _ type: M.Type,
        _ bytes: ByteSlice,
        _ version: Int16
    ) {
        guard let message = try? M.decoded(bytes, version: version) else { return }
        do {
            let first = try message.encoded(version: version)
            let second = try M.decoded(first, version: version).encoded(version: version)
            if first != second { Issue.record("\(M.name) \(version) changes: \(bytes.array)") }
        } catch {
            Issue.record("\(M.name) \(version): \(error) from \(bytes.array)")
        }
    }

    @Test func `the count of an array is checked before any memory is taken`() throws {
        for claimed in [5, 1 << 20, Int(Int32.max)] {
            var writer = ByteWriter()
            writer.write(Int32(claimed))
            writer.write(UInt32(0))
            var reader = ByteReader(writer.finishContiguous())
            #expect(throws: MalformedBytes.invalidLength(Int64(claimed))) {
                try reader.readCount(flexible: false, elementBytes: 1, nullable: false, field: "f")
            }
        }
        var reader = ByteReader(ByteSlice([0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7]))
        #expect(throws: MalformedBytes.invalidLength(2)) {
            try reader.readCount(flexible: false, elementBytes: 4, nullable: false, field: "f")
        }
    }

    @Test func `an array of more elements than any client sends is refused`() {
        let many = (1 << 20) + 1
        var writer = ByteWriter()
        writer.write(Int32(many))
        ByteSlice([UInt8](repeating: 0, count: many)).withUnsafeBytes {
            writer.write(contentsOf: $0)
        }
        var reader = ByteReader(writer.finishContiguous())
        #expect(throws: MalformedBytes.invalidLength(Int64(many))) {
            try reader.readCount(flexible: false, elementBytes: 1, nullable: false, field: "f")
        }
    }

    @Test func `more tagged fields than bytes are refused`() {
        var reader = ByteReader(ByteSlice([0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0]))
        #expect(throws: MalformedBytes.invalidLength(Int64(UInt32.max))) {
            try reader.readTaggedFields()
        }
        reader = ByteReader(ByteSlice([1, 7, 0xff, 0xff, 0xff, 0xff, 0x0f]))
        #expect(throws: MalformedBytes.truncated(needed: Int(UInt32.max), available: 0)) {
            try reader.readTaggedFields()
        }
    }
}

/// Reproducible draws (SplitMix64).
private struct Draws {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}
