import Testing

@testable import Bytes

@Suite struct VarintTests {
    private func bytes(_ body: (inout ByteWriter) -> Void) -> ByteSlice {
        var writer = ByteWriter()
        body(&writer)
        return writer.finishContiguous()
    }

    @Test(
        arguments: [
            (0, [0x00]), (1, [0x01]), (127, [0x7f]), (128, [0x80, 0x01]), (300, [0xac, 0x02]),
            (16_383, [0xff, 0x7f]), (16_384, [0x80, 0x80, 0x01]),
            (.max, [0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] as [(UInt32, [UInt8])]
    )
    func `an unsigned varint has the low groups first`(value: UInt32, expected: [UInt8]) throws {
        let encoded = bytes { $0.writeUnsignedVarint(value) }
        #expect(encoded.array == expected)
        var reader = ByteReader(encoded)
        #expect(try reader.readUnsignedVarint() == value)
        #expect(reader.remaining == 0)
    }

    @Test(
        arguments: [
            (0, [0x00]), (-1, [0x01]), (1, [0x02]), (-2, [0x03]), (63, [0x7e]), (-64, [0x7f]),
            (64, [0x80, 0x01]), (.max, [0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (.min, [0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] as [(Int32, [UInt8])]
    )
    func `a signed varint is in zigzag`(value: Int32, expected: [UInt8]) throws {
        let encoded = bytes { $0.writeVarint(value) }
        #expect(encoded.array == expected)
        var reader = ByteReader(encoded)
        #expect(try reader.readVarint() == value)
    }

    @Test func `every power of two and its neighbours come back`() throws {
        for shift in 0..<64 {
            for delta in [-1, 0, 1] as [Int64] {
                let value = Int64(bitPattern: 1 << UInt64(shift)) &+ delta
                for signed in [value, 0 &- value] {
                    var reader = ByteReader(bytes { $0.writeVarlong(signed) })
                    #expect(try reader.readVarlong() == signed)
                    let unsigned = UInt64(bitPattern: signed)
                    reader = ByteReader(bytes { $0.writeUnsignedVarlong(unsigned) })
                    #expect(try reader.readUnsignedVarlong() == unsigned)
                    let narrow = Int32(truncatingIfNeeded: signed)
                    reader = ByteReader(bytes { $0.writeVarint(narrow) })
                    #expect(try reader.readVarint() == narrow)
                }
            }
        }
    }

    @Test func `zeros in front of a number are read as Kafka reads them`() throws {
        var reader = ByteReader(ByteSlice([0x81, 0x80, 0x80, 0x80, 0x00]))
        #expect(try reader.readUnsignedVarint() == 1)
    }

    @Test(
        arguments: [
            [0x80, 0x80, 0x80, 0x80, 0x80, 0x00], [0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            [0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x10],
            [0xff, 0xff, 0xff, 0xff, 0x7f],
        ] as [[UInt8]]
    )
    func `a varint longer than 32 bits is refused`(bytes: [UInt8]) {
        var unsigned = ByteReader(ByteSlice(bytes))
        #expect(throws: MalformedBytes.overlongVarint) { try unsigned.readUnsignedVarint() }
        var signed = ByteReader(ByteSlice(bytes))
        #expect(throws: MalformedBytes.overlongVarint) { try signed.readVarint() }
    }

    @Test(arguments: [
        [UInt8](repeating: 0x80, count: 10) + [0x00],
        [UInt8](repeating: 0xff, count: 9) + [0x02],
        [UInt8](repeating: 0xff, count: 9) + [0x7f],
        [UInt8](repeating: 0xff, count: 12),
    ])
    func `a varint longer than 64 bits is refused`(bytes: [UInt8]) {
        var unsigned = ByteReader(ByteSlice(bytes))
        #expect(throws: MalformedBytes.overlongVarint) { try unsigned.readUnsignedVarlong() }
        var signed = ByteReader(ByteSlice(bytes))
        #expect(throws: MalformedBytes.overlongVarint) { try signed.readVarlong() }
    }

    @Test func `the largest number of 64 bits takes ten bytes`() throws {
        let encoded = bytes { $0.writeUnsignedVarlong(.max) }
        #expect(encoded.array == [UInt8](repeating: 0xff, count: 9) + [0x01])
        var reader = ByteReader(encoded)
        #expect(try reader.readUnsignedVarlong() == .max)
    }

    @Test func `a varint that the bytes end in throws`() {
        for count in 0..<5 {
            let cut = ByteSlice([UInt8](repeating: 0xff, count: count))
            var reader = ByteReader(cut)
            #expect(throws: MalformedBytes.truncated(needed: 1, available: 0)) {
                try reader.readUnsignedVarint()
            }
        }
    }
}
