import ClusterMetadata
import Platform
import Testing

@Suite struct PersistentMapTests {
    /// Few hashes for many keys, alike in their low bits.
    private struct Awkward: Hashable, Sendable {
        let number: Int

        func hash(into hasher: inout Hasher) { hasher.combine(number % 3) }
    }

    private func agree<Key: Hashable & Sendable>(
        _ map: PersistentMap<Key, Int>,
        _ model: [Key: Int]
    ) -> Bool {
        var found: [Key: Int] = [:]
        map.forEach { found[$0] = $1 }
        return found == model && map.count == model.count
            && model.allSatisfy { map[$0.key] == $0.value }
    }

    private func check<Key: Hashable & Sendable>(seed: UInt64, keys: Int, _ key: (Int) -> Key) {
        var generator = SeededGenerator(seed: seed)
        var map = PersistentMap<Key, Int>()
        var model: [Key: Int] = [:]
        var kept: [(PersistentMap<Key, Int>, [Key: Int])] = []
        for step in 0..<4_000 {
            let key = key(Int.random(in: 0..<keys, using: &generator))
            switch Int.random(in: 0..<5, using: &generator) {
            case 0, 1:
                map[key] = step
                model[key] = step
            case 2: #expect(map.remove(key) == model.removeValue(forKey: key))
            case 3:
                let changed: Int? = map.modify(key) { value in
                    value += 1
                    return value
                }
                #expect(changed == model[key].map { $0 + 1 })
                model[key]? += 1
            default: #expect(map[key] == model[key])
            }
            if step % 500 == 0 { kept.append((map, model)) }
        }
        #expect(agree(map, model))
        // No copy has felt the changes of another, and the differences lead from one to the other.
        for (copy, then) in kept {
            #expect(agree(copy, then))
            var patched = then
            map.forEachDifference(from: copy) { key, old, new in
                #expect(old == then[key] && new == model[key])
                patched[key] = new
            }
            #expect(patched == model)
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a map is what a dictionary is, and copies are apart`(_ seed: UInt64) {
        check(seed: seed, keys: 700) { $0 }
        check(seed: seed, keys: 30) { "\($0)" }
        check(seed: seed, keys: 20) { Awkward(number: $0) }
    }

    @Test func `the differences of a map and its changed copy are few`() {
        var map = PersistentMap<Int, Int>()
        for key in 0..<10_000 { map[key] = key }
        var changed = map
        changed[77] = 0
        changed[10_001] = 1
        changed.remove(5)
        var seen: [Int] = []
        changed.forEachDifference(from: map) { key, _, _ in seen.append(key) }
        // Beside these, some that an insertion or a removal has put on another level.
        #expect(seen.count < 9 && Set([5, 77, 10_001]).isSubset(of: seen))
    }
}
