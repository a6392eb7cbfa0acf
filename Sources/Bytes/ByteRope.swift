/// Bytes in several pieces, some in memory and some in a file: what a response is made of.
///
/// Nothing is copied to build one; a connection sends the memory pieces with one gathering write
/// and the file pieces with `sendfile`.
public struct ByteRope: Sendable {
    /// A range of a file.
    ///
    /// `file` keeps it open; only whoever made the piece knows its class.
    public struct FileRegion: @unchecked Sendable {
        // Unchecked: the file behind `file` is an immutable handle to already written bytes.
        public let file: AnyObject
        public let offset: Int
        public let count: Int

        @inlinable
        public init(file: AnyObject, offset: Int, count: Int) {
            precondition(offset >= 0 && count >= 0, "\(count) bytes at \(offset) of a file")
            self.file = file
            self.offset = offset
            self.count = count
        }
    }

    public enum Piece: Sendable {
        case bytes(ByteSlice)
        case file(FileRegion)
    }

    /// The pieces in order; a single one takes no memory of its own.
    public struct Pieces: RandomAccessCollection, Sendable {
        private var head: Piece?
        private var tail: [Piece] = []

        public var startIndex: Int { 0 }
        public var endIndex: Int { head == nil ? 0 : tail.count + 1 }

        public subscript(index: Int) -> Piece {
            guard index == 0 else { return tail[index - 1] }
            guard let head else { preconditionFailure("piece 0 of none") }
            return head
        }

        mutating func append(_ piece: Piece) {
            if head == nil { head = piece } else { tail.append(piece) }
        }
    }

    public private(set) var pieces = Pieces()
    /// Length of all pieces together, in bytes.
    public private(set) var count = 0

    public init() {}

    public init(_ slice: ByteSlice) { append(slice) }

    public var isEmpty: Bool { count == 0 }

    public mutating func append(_ slice: ByteSlice) {
        guard !slice.isEmpty else { return }
        pieces.append(.bytes(slice))
        count += slice.count
    }

    public mutating func append(_ region: FileRegion) {
        guard region.count > 0 else { return }
        pieces.append(.file(region))
        count += region.count
    }

    public mutating func append(_ rope: ByteRope) {
        if isEmpty {
            self = rope
            return
        }
        for piece in rope.pieces { pieces.append(piece) }
        count += rope.count
    }

    /// The bytes as one slice: the only piece itself, otherwise a copy of all of them.
    ///
    /// `nil` when a piece lies in a file.
    public func joined() -> ByteSlice? {
        if pieces.count == 1, case .bytes(let only) = pieces[0] { return only }
        let storage = ByteStorage(capacity: count)
        var end = 0
        for piece in pieces {
            guard case .bytes(let slice) = piece else { return nil }
            slice.withUnsafeBytes {
                (storage.start + end).copyMemory(
                    from: $0.baseAddress.unsafelyUnwrapped,
                    byteCount: $0.count
                )
            }
            end += slice.count
        }
        return storage.slice(0..<end)
    }
}

extension ByteRope: Equatable {
    /// Equal bytes, however they are cut; ropes with file pieces are equal to none.
    public static func == (left: ByteRope, right: ByteRope) -> Bool {
        guard left.count == right.count, let mine = left.joined(), let theirs = right.joined()
        else {
            return false
        }
        return mine == theirs
    }
}
