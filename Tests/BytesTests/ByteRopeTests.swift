import Testing

@testable import Bytes

@Suite struct ByteRopeTests {
    private final class OpenFile {}

    @Test func `pieces keep their order and their lengths add up`() {
        var rope = ByteRope()
        #expect(rope.isEmpty)
        rope.append(ByteSlice([1, 2]))
        rope.append(ByteSlice([3]))
        var outer = ByteRope(ByteSlice([0]))
        outer.append(rope)
        #expect(outer.count == 4 && !outer.isEmpty)
        #expect(outer.pieces.count == 3)
        #expect(outer.joined()?.array == [0, 1, 2, 3])
    }

    @Test func `empty pieces leave no trace`() {
        var rope = ByteRope(ByteSlice())
        rope.append(ByteRope.FileRegion(file: OpenFile(), offset: 9, count: 0))
        rope.append(ByteRope())
        #expect(rope.pieces.isEmpty && rope.isEmpty)
        #expect(rope.joined()?.isEmpty == true)
    }

    @Test func `the only piece is given out without a copy`() {
        let bytes = ByteSlice([1, 2, 3])
        #expect(ByteRope(bytes).joined()?.start == bytes.start)
    }

    @Test func `pieces are slices of the block they came from`() {
        let block = ByteSlice((0..<50).map { UInt8($0) })
        var rope = ByteRope(block[40..<50])
        rope.append(block[0..<10])
        for case .bytes(let piece) in rope.pieces { #expect(piece.owner === block.owner) }
        #expect(rope.joined()?.array == Array(40..<50) + Array(0..<10))
    }

    @Test func `a file piece keeps its file open and cannot be joined`() {
        weak var watched: OpenFile?
        var rope = ByteRope(ByteSlice([1]))
        do {
            let file = OpenFile()
            watched = file
            rope.append(ByteRope.FileRegion(file: file, offset: 100, count: 4096))
        }
        #expect(watched != nil)
        #expect(rope.count == 4097)
        #expect(rope.joined() == nil)
        rope = ByteRope()
        #expect(watched == nil)
    }

    @Test func `ropes are equal by their bytes, however they are cut`() {
        var cut = ByteRope(ByteSlice([1]))
        cut.append(ByteSlice([2, 3]))
        #expect(cut == ByteRope(ByteSlice([1, 2, 3])))
        #expect(cut != ByteRope(ByteSlice([1, 2, 4])))
        #expect(cut != ByteRope(ByteSlice([1, 2])))
        #expect(ByteRope() == ByteRope(ByteSlice()))
    }

    @Test func `a rope with a file piece equals none`() {
        var rope = ByteRope()
        rope.append(ByteRope.FileRegion(file: OpenFile(), offset: 0, count: 3))
        #expect(rope != rope)
        #expect(rope != ByteRope(ByteSlice([0, 0, 0])))
    }
}
