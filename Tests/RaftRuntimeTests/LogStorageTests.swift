import Bytes
import Raft
import Testing

@testable import RaftRuntime

/// What every storage does, whatever it writes to.
@Suite struct LogStorageTests {
    enum Kind: CaseIterable, Sendable { case memory, wal }

    private static let membership = Membership(voters: [ReplicaID(1)])

    private static func storage(_ kind: Kind) -> any RaftLogStorage {
        switch kind {
        case .memory: MemoryLogStorage(membership: membership)
        case .wal: WALRaftStorage(group: 1, membership: membership)
        }
    }

    private static func entries(_ range: ClosedRange<UInt64>, term: UInt64) -> [RaftEntry] {
        range.map {
            RaftEntry(
                index: LogIndex($0),
                term: Term(term),
                payload: RaftPayload(copying: Array("\(term)/\($0)".utf8))
            )
        }
    }

    private static func indices(_ entries: [RaftEntry]) -> [UInt64] {
        entries.map(\.index.rawValue)
    }

    private static func error(_ body: () throws -> Void) -> RaftLogReadError? {
        do {
            try body()
            return nil
        } catch {
            return error as? RaftLogReadError
        }
    }

    @Test(arguments: Kind.allCases)
    func `an empty log begins at one and has nothing`(_ kind: Kind) throws {
        let log = Self.storage(kind)
        #expect(log.firstIndex == LogIndex(1) && log.lastIndex == .zero)
        #expect(log.hardState == HardState())
        #expect(log.base.index == .zero && log.base.membership == Self.membership)
        #expect(try log.term(at: .zero) == .zero)
        #expect(Self.error { _ = try log.term(at: LogIndex(1)) } == .beyondLastIndex)
        #expect(try log.get(.zero) == nil && log.get(LogIndex(1)) == nil)
        #expect(try log.entries(in: LogIndex(1)..<LogIndex(1), maxBytes: 10).isEmpty)
        log.append([])
        log.truncateSuffix(from: LogIndex(1))
        log.truncatePrefix(through: .zero)
        #expect(log.lastIndex == .zero)
    }

    @Test(arguments: Kind.allCases)
    func `a range has its start and not its end`(_ kind: Kind) throws {
        let log = Self.storage(kind)
        log.append(Self.entries(1...5, term: 2))
        func read(_ from: UInt64, _ to: UInt64) throws -> [UInt64] {
            Self.indices(try log.entries(in: LogIndex(from)..<LogIndex(to), maxBytes: .max))
        }
        #expect(try read(1, 6) == [1, 2, 3, 4, 5])
        #expect(try read(2, 4) == [2, 3])
        #expect(try read(5, 6) == [5])
        #expect(Self.error { _ = try read(0, 2) } == .compacted)
        #expect(Self.error { _ = try read(5, 7) } == .beyondLastIndex)
        #expect(try log.get(LogIndex(3))?.payload.bytes == Array("2/3".utf8))
        #expect(try log.get(LogIndex(6)) == nil)
        #expect(try log.term(at: LogIndex(5)) == Term(2))
    }

    @Test(arguments: Kind.allCases)
    func `a page has what fits, and one entry at least`(_ kind: Kind) throws {
        let log = Self.storage(kind)
        log.append(Self.entries(1...5, term: 2))
        let one = try #require(try log.get(LogIndex(1))).byteCount
        func read(_ maxBytes: Int) throws -> [UInt64] {
            Self.indices(try log.entries(in: LogIndex(1)..<LogIndex(6), maxBytes: maxBytes))
        }
        #expect(try read(0) == [1])
        #expect(try read(one) == [1])
        #expect(try read(2 * one - 1) == [1])
        #expect(try read(2 * one) == [1, 2])
        #expect(try read(5 * one) == [1, 2, 3, 4, 5])
    }

    @Test(arguments: Kind.allCases)
    func `entries that come again replace all from there on`(_ kind: Kind) throws {
        let log = Self.storage(kind)
        log.append(Self.entries(1...5, term: 1))
        log.append(Self.entries(3...4, term: 2))
        #expect(log.lastIndex == LogIndex(4))
        #expect(try (1...4).map { try log.term(at: LogIndex($0)).rawValue } == [1, 1, 2, 2])
        log.truncateSuffix(from: LogIndex(2))
        #expect(log.lastIndex == LogIndex(1))
        log.truncateSuffix(from: LogIndex(2))
        log.truncateSuffix(from: LogIndex(1))
        #expect(log.lastIndex == .zero && log.firstIndex == LogIndex(1))
        log.append(Self.entries(1...1, term: 3))
        #expect(try log.term(at: LogIndex(1)) == Term(3))
    }

    @Test(arguments: Kind.allCases)
    func `a dropped prefix leaves its last term behind`(_ kind: Kind) throws {
        let log = Self.storage(kind)
        log.append(Self.entries(1...3, term: 1) + Self.entries(4...6, term: 2))
        log.truncatePrefix(through: LogIndex(4))
        #expect(log.firstIndex == LogIndex(5) && log.lastIndex == LogIndex(6))
        #expect(log.base.index == LogIndex(4) && log.base.term == Term(2))
        #expect(try log.term(at: LogIndex(4)) == Term(2))
        #expect(Self.error { _ = try log.term(at: LogIndex(3)) } == .compacted)
        #expect(try log.get(LogIndex(4)) == nil)
        #expect(
            Self.error { _ = try log.entries(in: LogIndex(4)..<LogIndex(6), maxBytes: 1) }
                == .compacted
        )
        log.truncatePrefix(through: LogIndex(2))
        #expect(log.firstIndex == LogIndex(5))
        log.truncatePrefix(through: LogIndex(6))
        #expect(log.firstIndex == LogIndex(7) && log.lastIndex == LogIndex(6))
        log.append(Self.entries(7...7, term: 3))
        #expect(try log.get(LogIndex(7))?.term == Term(3))
        #expect(try log.snapshot().metadata.index == LogIndex(6))
    }

    @Test(arguments: Kind.allCases)
    func `what must be remembered is`(_ kind: Kind) {
        let log = Self.storage(kind)
        let state = HardState(term: Term(7), vote: ReplicaID(3), commit: LogIndex(5))
        log.setHardState(state)
        #expect(log.hardState == state)
    }

    /// Against an array that begins at one and remembers how much of its front is gone.
    @Test(arguments: Kind.allCases, 0..<10)
    func `a storage agrees with an array`(_ kind: Kind, _ seed: Int) throws {
        var generator = Numbers(seed: UInt64(seed))
        let log = Self.storage(kind)
        var model: [UInt64] = [0]
        var base = 0
        for step in 0..<500 {
            let last = model.count - 1
            switch generator.below(6) {
            case 0, 1, 2:
                let count = generator.below(20)
                let new = (0..<count).map { UInt64(last + 1 + $0) }
                log.append(new.flatMap { Self.entries($0...$0, term: UInt64(step)) })
                model += new.map { _ in UInt64(step) }
            case 3:
                let from = base + 1 + generator.below(last - base + 2)
                log.truncateSuffix(from: LogIndex(UInt64(from)))
                if from <= last { model.removeSubrange(from...) }
            case 4 where last > base:
                let from = base + 1 + generator.below(last - base)
                log.append(Self.entries(UInt64(from)...UInt64(from), term: UInt64(step)))
                model.removeSubrange(from...)
                model.append(UInt64(step))
            default:
                base += generator.below(last - base + 1)
                log.truncatePrefix(through: LogIndex(UInt64(base)))
            }
            try expectEqual(log, model, base)
        }
    }

    private func expectEqual(_ log: any RaftLogStorage, _ model: [UInt64], _ base: Int) throws {
        try #require(log.firstIndex == LogIndex(UInt64(base + 1)))
        try #require(log.lastIndex == LogIndex(UInt64(model.count - 1)))
        #expect(try log.term(at: LogIndex(UInt64(base))).rawValue == model[base])
        let range = log.firstIndex..<log.lastIndex + 1
        let all = try log.entries(in: range, maxBytes: .max)
        #expect(all.map(\.term.rawValue) == Array(model[(base + 1)...]))
        #expect(Self.indices(all) == (base + 1..<model.count).map(UInt64.init))
    }
}

/// SplitMix64.
struct Numbers {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}
