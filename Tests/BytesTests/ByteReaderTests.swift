import Testing

@testable import Bytes

@Suite struct ByteReaderTests {
    @Test func `integers are read most significant byte first`() throws {
        var reader = ByteReader(ByteSlice((1...29).map { UInt8($0) }))
        #expect(try reader.readInt8() == 0x01)
        #expect(try reader.readInt16() == 0x0203)
        #expect(try reader.readUInt16() == 0x0405)
        #expect(try reader.readInt32() == 0x0607_0809)
        #expect(try reader.readUInt32() == 0x0a0b_0c0d)
        #expect(try reader.readInt64() == 0x0e0f_1011_1213_1415)
        #expect(try reader.read(UInt64.self) == 0x1617_1819_1a1b_1c1d)
        #expect(reader.remaining == 0)
    }

    @Test func `the sign bit is the first`() throws {
        var reader = ByteReader(ByteSlice([UInt8](repeating: 0xff, count: 21)))
        #expect(try reader.readInt8() == -1)
        #expect(try reader.readInt16() == -1)
        #expect(try reader.readUInt16() == .max)
        #expect(try reader.readInt32() == -1)
        #expect(try reader.readUInt32() == .max)
        #expect(try reader.readInt64() == -1)
    }

    @Test(arguments: [0.0, -0.0, 1.5, -2.25e300, .infinity, .leastNonzeroMagnitude])
    func `a double keeps its bits`(value: Double) throws {
        var writer = ByteWriter()
        writer.write(value)
        var reader = ByteReader(writer.finishContiguous())
        #expect(try reader.readDouble().bitPattern == value.bitPattern)
    }

    @Test func `integers need not be aligned`() throws {
        for start in 0..<8 {
            var bytes = [UInt8](repeating: 0xee, count: start)
            bytes += [0, 0, 0, 0, 0, 0, 1, 2]
            var reader = ByteReader(ByteSlice(bytes).dropFirst(start))
            #expect(try reader.readInt64() == 258)
        }
    }

    @Test func `every primitive throws at every length that is too short`() {
        let reads: [(Int, (inout ByteReader) throws -> Void)] = [
            (1, { _ = try $0.readInt8() }), (2, { _ = try $0.readInt16() }),
            (2, { _ = try $0.readUInt16() }), (4, { _ = try $0.readInt32() }),
            (4, { _ = try $0.readUInt32() }), (8, { _ = try $0.readInt64() }),
            (8, { _ = try $0.readDouble() }), (5, { _ = try $0.readSlice(5) }),
            (5, { _ = try $0.readUTF8(5) }), (5, { try $0.skip(5) }),
        ]
        for (size, read) in reads {
            for available in 0..<size {
                var reader = ByteReader(ByteSlice([UInt8](repeating: 0x41, count: available)))
                #expect(throws: MalformedBytes.truncated(needed: size, available: available)) {
                    try read(&reader)
                }
                #expect(reader.remaining == available, "a read that failed takes nothing")
            }
        }
    }

    @Test(arguments: [-1, -5, Int.min])
    func `a negative length is refused`(length: Int) {
        var reader = ByteReader(ByteSlice([1, 2, 3]))
        let refused = MalformedBytes.invalidLength(Int64(length))
        #expect(throws: refused) { try reader.readSlice(length) }
        #expect(throws: refused) { try reader.readUTF8(length) }
        #expect(throws: refused) { try reader.skip(length) }
        #expect(reader.position == 0)
    }

    @Test func `a length beyond all memory is refused and does not overflow`() {
        var reader = ByteReader(ByteSlice([1, 2, 3]))
        #expect(throws: Never.self) { try reader.skip(2) }
        for length in [2, Int(Int32.max), Int.max] {
            let refused = MalformedBytes.truncated(needed: length, available: 1)
            #expect(throws: refused) { try reader.readSlice(length) }
            #expect(throws: refused) { try reader.skip(length) }
        }
        #expect(reader.remaining == 1)
    }

    @Test func `a slice shares the memory it came in`() throws {
        let bytes = ByteSlice((0..<100).map { UInt8($0) })
        var reader = ByteReader(bytes)
        try reader.skip(10)
        let slice = try reader.readSlice(20)
        #expect(slice.array == (10..<30).map { UInt8($0) })
        #expect(slice.owner === bytes.owner)
        #expect(reader.position == 30)
        #expect(try reader.readSlice(0).isEmpty)
    }

    @Test func `an empty slice can be read to its end`() throws {
        var reader = ByteReader(ByteSlice())
        #expect(try reader.readSlice(0).isEmpty)
        #expect(try reader.readUTF8(0) == "")
        #expect(throws: MalformedBytes.truncated(needed: 1, available: 0)) {
            try reader.readInt8()
        }
    }

    @Test(arguments: ["", "a", "Grüße", "日本語", "🦆", "with\u{0}zero"])
    func `text is read as it was written`(text: String) throws {
        var reader = ByteReader(ByteSlice(text))
        #expect(try reader.readUTF8(text.utf8.count) == text)
    }

    @Test(
        arguments: [
            [0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0x80],
            [0xf5, 0x80, 0x80, 0x80],
        ] as [[UInt8]]
    )
    func `what is no text is refused`(bytes: [UInt8]) {
        var reader = ByteReader(ByteSlice(bytes))
        #expect(throws: MalformedBytes.invalidUTF8) { try reader.readUTF8(bytes.count) }
    }
}
