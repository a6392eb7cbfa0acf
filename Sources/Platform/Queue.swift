/// First in, first out: an array that loses its front cheaply.
///
/// What was taken keeps its place, empty, until there are many such places or nothing else; then
/// they go in one move.
package struct Queue<Element> {
    @usableFromInline var places: [Element?] = []
    @usableFromInline var taken = 0

    @inlinable package init() {}

    @inlinable package var count: Int { places.count - taken }

    @inlinable package var isEmpty: Bool { count == 0 }

    @inlinable package var first: Element? { isEmpty ? nil : places[taken] }

    @inlinable package mutating func append(_ element: Element) { places.append(element) }

    /// Takes the first, if there is one.
    @inlinable @discardableResult package mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = places[taken].take()
        taken += 1
        if taken == places.count {
            places.removeAll(keepingCapacity: taken <= 256)
            taken = 0
        } else if taken >= 256 && taken > places.count / 2 {
            places.removeFirst(taken)
            taken = 0
        }
        return element
    }
}
