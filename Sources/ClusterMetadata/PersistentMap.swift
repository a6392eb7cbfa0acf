/// A dictionary of which a copy costs nothing, and a change after a copy a few small nodes.
///
/// A trie over the bits of the keys' hashes, 5 a level. Copies share nodes; a change copies the
/// nodes from the root to the entry unless this map alone has them. So an image of the metadata
/// can be published after every change, and two images be compared by what they do not share.
package struct PersistentMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    @usableFromInline typealias Node = TrieNode<Key, Value>

    @usableFromInline var root: Node?
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    package subscript(key: Key) -> Value? {
        @inlinable get { find(key, hash: UInt(bitPattern: key.hashValue)) }
        set {
            if let newValue {
                insert(key, newValue)
            } else {
                remove(key)
            }
        }
    }

    @inlinable
    func find(_ key: Key, hash: UInt) -> Value? {
        guard var node = root else { return nil }
        var hash = hash
        while let place = node.place(of: hash) {
            switch node.slots[place] {
            case .entry(let leaf): return leaf.key == key ? leaf.value : nil
            case .child(let child):
                node = child
                hash >>= 5
            case .collision(let entries): return entries.first { $0.key == key }?.value
            case .taken: preconditionFailure("a slot taken out was not put back")
            }
        }
        return nil
    }

    private mutating func insert(_ key: Key, _ value: Value) {
        var node = root ?? Node()
        root = nil
        if !isKnownUniquelyReferenced(&node) { node = node.copy() }
        let hash = UInt(bitPattern: key.hashValue)
        if node.insert(TrieLeaf(key, value), hash: hash, level: 0) { count += 1 }
        root = node
    }

    @discardableResult
    package mutating func remove(_ key: Key) -> Value? {
        // Looked up first, so that nothing is copied for a key that is not there.
        let hash = UInt(bitPattern: key.hashValue)
        guard let old = find(key, hash: hash), var node = root else { return nil }
        root = nil
        if !isKnownUniquelyReferenced(&node) { node = node.copy() }
        node.remove(key, hash: hash)
        count -= 1
        root = node.slots.isEmpty ? nil : node
        return old
    }

    /// Changes a value in its place, without a second reference to what it holds.
    ///
    /// - Returns: `nil` when the key is not there.
    @discardableResult
    package mutating func modify<Result>(
        _ key: Key,
        _ change: (inout Value) -> Result
    ) -> Result? {
        let hash = UInt(bitPattern: key.hashValue)
        guard find(key, hash: hash) != nil, var node = root else { return nil }
        root = nil
        if !isKnownUniquelyReferenced(&node) { node = node.copy() }
        let result = node.modify(key, hash: hash, change)
        root = node
        return result
    }

    /// In no order that could be relied on.
    package func forEach(_ body: (Key, Value) -> Void) { root?.forEach(body) }

    package var keys: [Key] {
        var keys: [Key] = []
        keys.reserveCapacity(count)
        forEach { key, _ in keys.append(key) }
        return keys
    }

    package var values: [Value] {
        var values: [Value] = []
        values.reserveCapacity(count)
        forEach { _, value in values.append(value) }
        return values
    }

    /// What may differ from an older map; what both share is not looked at.
    ///
    /// Tells of every key whose value may have changed; it may have been set to what it was.
    package func forEachDifference(from old: Self, _ body: (Key, _ old: Value?, Value?) -> Void) {
        Node.compare(old.root, root, body)
    }
}

/// A key and its value.
///
/// All copies of a map that have not changed it share it: a node is copied without copying what its
/// slots hold, and what has not changed is told by its identity.
///
/// `@unchecked Sendable`: changed only where it is known to be referenced once.
@usableFromInline
final class TrieLeaf<Key: Hashable & Sendable, Value: Sendable>: @unchecked Sendable {
    @usableFromInline let key: Key
    @usableFromInline var value: Value

    init(_ key: Key, _ value: Value) {
        self.key = key
        self.value = value
    }
}

/// One level of the trie: a slot for each bit of the bitmap that is set.
///
/// `@unchecked Sendable`: changed only where it is known to be referenced once, as the standard
/// library's collections are.
@usableFromInline
final class TrieNode<Key: Hashable & Sendable, Value: Sendable>: @unchecked Sendable {
    @usableFromInline typealias Leaf = TrieLeaf<Key, Value>

    @usableFromInline
    enum Slot {
        case entry(Leaf)
        case child(TrieNode)
        /// Keys of one hash, below the last level.
        case collision([(key: Key, value: Value)])
        /// While its content is being changed.
        case taken
    }

    private static var lastLevel: Int { UInt.bitWidth / 5 }

    @usableFromInline var bitmap: UInt32 = 0
    @usableFromInline var slots: [Slot] = []

    func copy() -> TrieNode {
        let copy = TrieNode()
        copy.bitmap = bitmap
        copy.slots = slots
        return copy
    }

    @inlinable
    static func bit(_ hash: UInt) -> UInt32 { 1 << UInt32(truncatingIfNeeded: hash & 31) }

    @inlinable
    func place(of hash: UInt) -> Int? {
        let bit = Self.bit(hash)
        return bitmap & bit == 0 ? nil : (bitmap & (bit - 1)).nonzeroBitCount
    }

    /// Whether the key is new.
    func insert(_ leaf: Leaf, hash: UInt, level: Int) -> Bool {
        guard let place = place(of: hash) else {
            let bit = Self.bit(hash)
            slots.insert(.entry(leaf), at: (bitmap & (bit - 1)).nonzeroBitCount)
            bitmap |= bit
            return true
        }
        let slot = slots[place]
        slots[place] = .taken
        switch consume slot {
        case .entry(let old):
            if old.key == leaf.key {
                slots[place] = .entry(leaf)
                return false
            }
            if level == Self.lastLevel {
                slots[place] = .collision([(old.key, old.value), (leaf.key, leaf.value)])
                return true
            }
            let child = TrieNode()
            let oldHash = UInt(bitPattern: old.key.hashValue) >> UInt(5 * (level + 1))
            _ = child.insert(old, hash: oldHash, level: level + 1)
            _ = child.insert(leaf, hash: hash >> 5, level: level + 1)
            slots[place] = .child(child)
            return true
        case .child(var child):
            if !isKnownUniquelyReferenced(&child) { child = child.copy() }
            let isNew = child.insert(leaf, hash: hash >> 5, level: level + 1)
            slots[place] = .child(child)
            return isNew
        case .collision(var entries):
            let known = entries.firstIndex { $0.key == leaf.key }
            if let known {
                entries[known].value = leaf.value
            } else {
                entries.append((leaf.key, leaf.value))
            }
            slots[place] = .collision(entries)
            return known == nil
        case .taken: preconditionFailure("a slot taken out was not put back")
        }
    }

    /// A precondition: the key is there.
    func remove(_ key: Key, hash: UInt) {
        guard let place = place(of: hash) else { preconditionFailure("no slot for the key") }
        let slot = slots[place]
        slots[place] = .taken
        switch consume slot {
        case .entry: dropSlot(place, hash)
        case .child(var child):
            if !isKnownUniquelyReferenced(&child) { child = child.copy() }
            child.remove(key, hash: hash >> 5)
            if child.slots.isEmpty {
                dropSlot(place, hash)
            } else if child.slots.count == 1, case .entry(let leaf) = child.slots[0] {
                slots[place] = .entry(leaf)
            } else {
                slots[place] = .child(child)
            }
        case .collision(var entries):
            entries.removeAll { $0.key == key }
            slots[place] =
                entries.count == 1
                ? .entry(Leaf(entries[0].key, entries[0].value)) : .collision(entries)
        case .taken: preconditionFailure("a slot taken out was not put back")
        }
    }

    private func dropSlot(_ place: Int, _ hash: UInt) {
        slots.remove(at: place)
        bitmap &= ~Self.bit(hash)
    }

    /// A precondition: the key is there.
    func modify<Result>(_ key: Key, hash: UInt, _ change: (inout Value) -> Result) -> Result {
        guard let place = place(of: hash) else { preconditionFailure("no slot for the key") }
        let slot = slots[place]
        slots[place] = .taken
        switch consume slot {
        case .entry(var leaf):
            if !isKnownUniquelyReferenced(&leaf) { leaf = Leaf(leaf.key, leaf.value) }
            let result = change(&leaf.value)
            slots[place] = .entry(leaf)
            return result
        case .child(var child):
            if !isKnownUniquelyReferenced(&child) { child = child.copy() }
            let result = child.modify(key, hash: hash >> 5, change)
            slots[place] = .child(child)
            return result
        case .collision(var entries):
            guard let known = entries.firstIndex(where: { $0.key == key }) else {
                preconditionFailure("no entry for the key")
            }
            let result = change(&entries[known].value)
            slots[place] = .collision(entries)
            return result
        case .taken: preconditionFailure("a slot taken out was not put back")
        }
    }

    func forEach(_ body: (Key, Value) -> Void) {
        for slot in slots { Self.forEach(in: slot, body) }
    }

    private static func forEach(in slot: Slot, _ body: (Key, Value) -> Void) {
        switch slot {
        case .entry(let leaf): body(leaf.key, leaf.value)
        case .child(let child): child.forEach(body)
        case .collision(let entries): for entry in entries { body(entry.key, entry.value) }
        case .taken: preconditionFailure("a slot taken out was not put back")
        }
    }

    static func compare(
        _ old: TrieNode?,
        _ new: TrieNode?,
        _ body: (Key, _ old: Value?, Value?) -> Void
    ) {
        if old === new { return }
        let oldBits = old?.bitmap ?? 0
        let newBits = new?.bitmap ?? 0
        var rest = oldBits | newBits
        while rest != 0 {
            let bit = UInt(rest.trailingZeroBitCount)
            rest &= rest - 1
            let before = old.flatMap { node in node.place(of: bit).map { node.slots[$0] } }
            let after = new.flatMap { node in node.place(of: bit).map { node.slots[$0] } }
            compareSlots(before, after, body)
        }
    }

    private static func compareSlots(
        _ old: Slot?,
        _ new: Slot?,
        _ body: (Key, _ old: Value?, Value?) -> Void
    ) {
        if case .child(let before)? = old, case .child(let after)? = new {
            return compare(before, after, body)
        }
        if case .entry(let before)? = old, case .entry(let after)? = new, before.key == after.key {
            if before !== after { body(after.key, before.value, after.value) }
            return
        }
        var before: [Key: Value] = [:]
        if let old { forEach(in: old) { before[$0] = $1 } }
        if let new { forEach(in: new) { body($0, before.removeValue(forKey: $0), $1) } }
        for (key, value) in before { body(key, value, nil) }
    }
}
