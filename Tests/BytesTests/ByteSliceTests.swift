import Testing

@testable import Bytes

@Suite struct ByteSliceTests {
    private let numbers = ByteSlice((0..<100).map { UInt8($0) })

    @Test func `a slice of a slice shares its memory`() {
        let part = numbers[10..<50]
        let inner = part[5..<8]
        #expect(inner.array == [15, 16, 17])
        #expect(inner.owner === numbers.owner)
        #expect(inner[0] == 15 && inner[2] == 17)
    }

    @Test func `an empty slice holds on to nothing`() {
        #expect(numbers[50..<50].owner == nil)
        #expect(ByteSlice([]).owner == nil)
        #expect(ByteSlice("").isEmpty)
        #expect(ByteSlice().array == [])
        #expect(numbers[100..<100].isEmpty)
    }

    @Test func `prefix and dropFirst stop at the end`() {
        #expect(numbers.prefix(3).array == [0, 1, 2])
        #expect(numbers.prefix(1000) == numbers)
        #expect(numbers.dropFirst(97).array == [97, 98, 99])
        #expect(numbers.dropFirst(1000).isEmpty)
        #expect(ByteSlice().prefix(1).isEmpty && ByteSlice().dropFirst(1).isEmpty)
    }

    @Test func `the memory lives as long as any part of it`() {
        final class Witness {
            let body: () -> Void
            let bytes = ByteStorage(capacity: 8)
            init(_ body: @escaping () -> Void) { self.body = body }
            deinit { body() }
        }
        nonisolated(unsafe) var isGone = false
        var part = ByteSlice()
        do {
            let witness = Witness { isGone = true }
            let whole = ByteSlice(
                owner: witness,
                start: UnsafeRawPointer(witness.bytes.start),
                count: 8
            )
            part = whole[2..<4]
        }
        #expect(!isGone)
        #expect(part.count == 2)
        part = ByteSlice()
        #expect(isGone)
    }

    @Test func `a copy has memory of its own, no larger than it is`() {
        let copy = numbers[10..<20].copied()
        #expect(copy == numbers[10..<20])
        #expect(copy.owner !== numbers.owner)
        #expect((copy.owner as? ByteStorage)?.capacity == 10)
    }

    @Test func `slices are equal by their bytes`() {
        #expect(ByteSlice([1, 2, 3]) == ByteSlice([0, 1, 2, 3]).dropFirst(1))
        #expect(ByteSlice([1, 2, 3]) != ByteSlice([1, 2, 4]))
        #expect(ByteSlice([1, 2, 3]) != ByteSlice([1, 2]))
        #expect(ByteSlice() == ByteSlice([]))
    }

    @Test func `integers load and patch at any place, in either order`() {
        let bytes = ByteSlice([UInt8](repeating: 0, count: 16))
        for place in 0...8 {
            bytes.patchBigEndian(UInt64(0x0102_0304_0506_0708), at: place)
            #expect(bytes.loadBigEndian(at: place, as: UInt64.self) == 0x0102_0304_0506_0708)
            #expect(bytes.loadLittleEndian(at: place, as: UInt64.self) == 0x0807_0605_0403_0201)
            #expect(bytes[place] == 1 && bytes[place + 7] == 8)
        }
        bytes.patchBigEndian(Int16(-2), at: 14)
        #expect(bytes.dropFirst(14).array == [0xff, 0xfe])
        #expect(bytes.loadBigEndian(at: 14, as: Int16.self) == -2)
    }

    @Test func `a patch touches its own bytes alone`() {
        let bytes = ByteSlice([UInt8](repeating: 0xaa, count: 12))
        bytes.patchBigEndian(UInt32(0), at: 4)
        #expect(bytes.array == [0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa])
    }

    @Test func `a block for direct access is aligned`() {
        let block = ByteStorage(capacity: 100, alignment: 4096)
        #expect(Int(bitPattern: block.start) % 4096 == 0)
        #expect(block.slice(0..<100).count == 100)
        #expect(ByteStorage(capacity: 0).slice(0..<0).isEmpty)
    }
}

/// What would read or write foreign memory stops the program, in every build.
@Suite struct ByteSliceBoundsTests {
    @Test func `a range outside the slice stops the program`() async {
        await #expect(processExitsWith: .failure) { _ = ByteSlice([1, 2, 3])[1..<4] }
    }

    @Test func `a load beyond the end stops the program`() async {
        await #expect(processExitsWith: .failure) {
            _ = ByteSlice([1, 2, 3]).loadBigEndian(at: 0, as: UInt32.self)
        }
    }

    @Test func `a patch beyond the end stops the program`() async {
        await #expect(processExitsWith: .failure) {
            ByteSlice([1, 2, 3]).patchBigEndian(UInt16(0), at: 2)
        }
    }
}
