import Testing

@testable import Bytes

@Suite struct ByteWriterTests {
    @Test func `integers are written most significant byte first`() {
        var writer = ByteWriter()
        writer.write(Int8(-2))
        writer.write(UInt16(0x0102))
        writer.write(Int32(-2))
        writer.write(UInt64(0x0304_0506_0708_090a))
        let count = writer.count
        let bytes = writer.finishContiguous()
        #expect(count == 15)
        #expect(bytes.array == [0xfe, 1, 2, 0xff, 0xff, 0xff, 0xfe, 3, 4, 5, 6, 7, 8, 9, 10])
    }

    @Test func `nothing written is an empty slice`() {
        let writer = ByteWriter()
        #expect(writer.finishContiguous().isEmpty)
        var untouched = ByteWriter()
        untouched.write(utf8: "")
        untouched.write(ByteSlice())
        untouched.write(ByteRope())
        #expect(untouched.finish().pieces.isEmpty)
    }

    @Test func `growing keeps what was written`() {
        var writer = ByteWriter(capacity: 64)
        var expected: [UInt8] = []
        for n in 0..<5000 {
            writer.write(UInt8(truncatingIfNeeded: n))
            expected.append(UInt8(truncatingIfNeeded: n))
        }
        let block = [UInt8](repeating: 7, count: 100_000)
        block.withUnsafeBytes { writer.write(contentsOf: $0) }
        #expect(writer.count == 105_000)
        #expect(writer.finishContiguous().array == expected + block)
    }

    @Test func `a small slice is copied, a large one goes as it is`() {
        let small = ByteSlice([UInt8](repeating: 1, count: 2047))
        let large = ByteSlice([UInt8](repeating: 2, count: 2048))
        var writer = ByteWriter()
        writer.write(UInt8(9))
        writer.write(small)
        writer.write(large)
        writer.write(UInt8(8))
        writer.write(small)
        let count = writer.count
        let rope = writer.finish()
        #expect(rope.count == count)
        #expect(rope.pieces.count == 3)
        guard rope.pieces.count == 3, case .bytes(let second) = rope.pieces[1] else {
            Issue.record("no piece in memory")
            return
        }
        #expect(second.owner === large.owner && second.start == large.start)
        #expect(
            rope.joined()?.array == [9] + small.array + large.array + [8] + small.array
        )
    }

    @Test(arguments: [0, 10, 5_000])
    func `a length in front counts everything behind it`(_ size: Int) {
        let body = ByteSlice([UInt8](repeating: 7, count: size))
        var writer = ByteWriter(capacity: 8)
        writer.write(Int32(0))
        writer.write(Int16(-1))
        writer.write(body)
        writer.write(Int8(1))
        let rope = writer.finishLengthPrefixed()
        var expected = ByteWriter()
        expected.write(Int32(size + 3))
        expected.write(Int16(-1))
        expected.write(body)
        expected.write(Int8(1))
        let framed = expected.finish()
        #expect(rope == framed)
    }

    @Test func `pieces in front of a splice stay what they were when the writer grows`() {
        let large = ByteSlice([UInt8](repeating: 2, count: 4096))
        var writer = ByteWriter(capacity: 64)
        var expected: [UInt8] = []
        for round in 0..<20 {
            let tail = [UInt8](repeating: UInt8(round), count: 13 * round)
            tail.withUnsafeBytes { writer.write(contentsOf: $0) }
            writer.write(large)
            expected += tail + large.array
        }
        let rope = writer.finish()
        #expect(rope.joined()?.array == expected)
    }

    @Test func `a rope's small pieces are gathered and its file pieces kept`() {
        let file = ByteSlice("stands for a file")
        guard let owner = file.owner else { return }
        var rope = ByteRope(ByteSlice([1, 2]))
        rope.append(ByteSlice([3]))
        rope.append(ByteRope.FileRegion(file: owner, offset: 5, count: 10))
        rope.append(ByteSlice([4]))
        var writer = ByteWriter()
        writer.write(UInt8(0))
        writer.write(rope)
        let count = writer.count
        let written = writer.finish()
        #expect(count == 15 && written.count == 15)
        #expect(written.pieces.count == 3)
        guard written.pieces.count == 3, case .bytes(let front) = written.pieces[0],
            case .file(let region) = written.pieces[1], case .bytes(let back) = written.pieces[2]
        else {
            Issue.record("not bytes, file, bytes")
            return
        }
        #expect(front.array == [0, 1, 2, 3])
        #expect(region.file === owner && region.offset == 5 && region.count == 10)
        #expect(back.array == [4])
    }

    @Test(arguments: ["", "plain", "Grüße 🦆", String(repeating: "long ", count: 1000)])
    func `text is written as UTF-8`(text: String) {
        var writer = ByteWriter()
        writer.write(utf8: text)
        #expect(writer.finishContiguous().array == Array(text.utf8))
    }

    @Test func `one piece is given out without a copy`() {
        let large = ByteSlice([UInt8](repeating: 2, count: 5000))
        var writer = ByteWriter()
        writer.write(large)
        #expect(writer.finishContiguous().start == large.start)
    }
}
