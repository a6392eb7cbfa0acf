import Platform
import Testing

@Suite struct ChecksumTests {
    private func checksum(_ bytes: [UInt8], continuing previous: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.checksum($0, continuing: previous) }
    }

    /// Byte by byte over a table, from the reflected polynomial.
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in
            value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1
        }
    }

    private func bytewise(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(UInt32.max) { $0 >> 8 ^ Self.table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }

    @Test func `the published vectors come out`() {
        #expect(checksum([]) == 0)
        #expect(checksum(Array("123456789".utf8)) == 0xE306_9283)
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(checksum([UInt8](repeating: 0xff, count: 32)) == 0x62A8_AB43)
        #expect(checksum(Array(0..<32)) == 0x46DD_794E)
        #expect(checksum(Array((0..<32).reversed())) == 0x113F_DB5C)
    }

    @Test func `every length and alignment agrees with the table`() {
        var generator = SeededGenerator(seed: 3)
        let bytes = (0..<4_200).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        let lengths = Array(0...130) + [255, 256, 257, 1_023, 1_024, 1_025, 4_095, 4_096, 4_097]
        bytes.withUnsafeBytes { all in
            for start in 0..<9 {
                for length in lengths {
                    let part = UnsafeRawBufferPointer(rebasing: all[start..<start + length])
                    #expect(CRC32C.checksum(part) == bytewise(part))
                }
            }
        }
    }

    @Test func `a checksum goes on where another ended, wherever the cut`() {
        let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 * 7) }
        for cut in 0...bytes.count {
            let first = checksum(Array(bytes[..<cut]))
            #expect(checksum(Array(bytes[cut...]), continuing: first) == bytewise(bytes))
        }
    }

    @Test func `any one bit changes it`() {
        var bytes = Array("a batch of records".utf8)
        let whole = checksum(bytes)
        for bit in 0..<bytes.count * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(checksum(bytes) != whole)
            bytes[bit / 8] ^= 1 << (bit % 8)
        }
    }
}

@Suite struct SeededGeneratorTests {
    @Test func `the same seed draws the same numbers, on every machine`() {
        var generator = SeededGenerator(seed: 1_234_567)
        let drawn = (0..<5).map { _ in generator.next() }
        #expect(
            drawn == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
                4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
            ]
        )
    }

    @Test func `numbers stay below their bound, and reach all of it`() {
        var generator = SeededGenerator(seed: 1)
        for bound in [1, 2, 7, 1_000] {
            let drawn = (0..<bound * 20).map { _ in generator.below(bound) }
            #expect(Set(drawn).isSubset(of: Set(0..<bound)))
            #expect(Set(drawn).count > bound * 9 / 10)
        }
    }

    @Test func `chances are kept`() {
        var generator = SeededGenerator(seed: 2)
        let hits = (0..<10_000).filter { _ in generator.chance(1, in: 4) }.count
        #expect((2_300...2_700).contains(hits))
        #expect(!generator.chance(0, in: 4) && generator.chance(4, in: 4))
    }

    @Test func `a fork is not disturbed by what its parent draws afterwards`() {
        var first = SeededGenerator(seed: 5)
        var second = SeededGenerator(seed: 5)
        var forkOfFirst = first.fork()
        _ = first.next()
        var forkOfSecond = second.fork()
        for _ in 0..<10 { #expect(forkOfFirst.next() == forkOfSecond.next()) }
        var other = SeededGenerator(seed: 6)
        #expect(other.next() != second.next())
    }
}
