/// The partitions of a topic in the order of their index, in pieces that copies share.
///
/// A change of one partition of a topic with very many copies one piece.
package struct PartitionList: RandomAccessCollection, Sendable, Equatable {
    package typealias Element = MetadataImage.Partition

    private static let pieceLength = 64

    private var pieces: [[Element]] = []

    package init() {}

    package var startIndex: Int { 0 }
    package var endIndex: Int {
        guard let last = pieces.last else { return 0 }
        return (pieces.count - 1) * Self.pieceLength + last.count
    }

    package subscript(index: Int) -> Element {
        get { pieces[index / Self.pieceLength][index % Self.pieceLength] }
        set { pieces[index / Self.pieceLength][index % Self.pieceLength] = newValue }
        _modify { yield &pieces[index / Self.pieceLength][index % Self.pieceLength] }
    }

    package mutating func append(_ partition: Element) {
        if pieces.last.map({ $0.count < Self.pieceLength }) ?? false {
            pieces[pieces.count - 1].append(partition)
        } else {
            pieces.append([partition])
        }
    }

    package static func == (left: Self, right: Self) -> Bool {
        guard left.pieces.count == right.pieces.count else { return false }
        return zip(left.pieces, right.pieces).allSatisfy { isShared($0, $1) || $0 == $1 }
    }

    /// Tells of every partition that differs from the one of an older list.
    package func forEachDifference(from old: Self, _ body: (_ old: Element?, Element?) -> Void) {
        for place in 0..<Swift.max(pieces.count, old.pieces.count) {
            let before = place < old.pieces.count ? old.pieces[place] : []
            let after = place < pieces.count ? pieces[place] : []
            if Self.isShared(before, after) { continue }
            for index in 0..<Swift.max(before.count, after.count) {
                let left = index < before.count ? before[index] : nil
                let right = index < after.count ? after[index] : nil
                if left != right { body(left, right) }
            }
        }
    }

    /// Whether two arrays are the same memory; each is held by a list, so equal means unchanged.
    private static func isShared(_ left: [Element], _ right: [Element]) -> Bool {
        left.count == right.count
            && left.withUnsafeBufferPointer { left in
                right.withUnsafeBufferPointer { left.baseAddress == $0.baseAddress }
            }
    }
}
