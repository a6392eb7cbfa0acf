import Bytes
import Raft
import Testing

@testable import RaftRuntime
@testable import WriteAheadLog

/// A storage, what it wrote, and a new one that recovers from it.
@Suite struct WALRaftStorageTests {
    private static let membership = Membership(voters: [ReplicaID(1)])
    private static let group: UInt64 = 9

    /// What the WAL of a node holds, a record a file or several.
    private final class Written {
        var recordsPerFile = 1
        private(set) var records: [(record: WALRecord, position: WALPosition)] = []
        /// Records of files that were freed.
        var released: UInt64 = 0
        /// The file of a record that cannot be read; to be used with a record a file.
        var damaged: UInt64?

        func take(from storage: WALRaftStorage) {
            var new: [WALRecord] = []
            _ = storage.takePending(into: &new)
            for record in new {
                let position = WALPosition(
                    file: UInt64(records.count / recordsPerFile + 1),
                    offset: records.count,
                    length: record.payload.count,
                    seed: 0
                )
                records.append((record, position))
                storage.recordIsDurable(record, at: position)
            }
        }

        func forget(after count: Int) { records.removeLast(records.count - count) }

        /// `count`: the records that were written before the process died.
        func recover(
            _ group: UInt64 = WALRaftStorageTests.group,
            of count: Int = .max
        ) throws -> WALRaftStorage {
            let storage = WALRaftStorage(group: group, membership: membership)
            for (record, position) in records.prefix(count)
            where position.file > released && record.group == group {
                if position.file == damaged {
                    storage.recoverDamage(highestTerm: Term(record.term))
                    continue
                }
                try storage.recover(
                    kind: record.kind,
                    term: record.term,
                    index: record.index,
                    payload: record.payload,
                    at: position
                )
            }
            storage.fetch = { [unowned storage] range, positions in
                let payloads = positions.map { position in
                    self.records[position.offset].record.payload
                }
                storage.fetched(range, payloads)
            }
            return storage
        }
    }

    private let written = Written()
    private let storage = WALRaftStorage(group: group, membership: membership)

    private func append(
        _ range: ClosedRange<UInt64>,
        term: UInt64,
        kind: RaftEntry.Kind = .normal
    ) {
        storage.append(
            range.map {
                RaftEntry(
                    index: LogIndex($0),
                    term: Term(term),
                    kind: kind,
                    payload: RaftPayload(copying: Array("\(term)/\($0)".utf8))
                )
            }
        )
        written.take(from: storage)
    }

    private func vote(term: UInt64, commit: UInt64) {
        storage.setHardState(
            HardState(term: Term(term), vote: ReplicaID(1), commit: LogIndex(commit))
        )
        written.take(from: storage)
    }

    /// By what is chosen of 0 to 3, appends entries, votes, or replaces an entry by one of a new
    /// term; false for any other choice, and where there is no entry to replace.
    private func write(_ choice: Int, _ term: inout UInt64, _ generator: inout Numbers) -> Bool {
        let base = storage.base.index.rawValue
        let last = storage.lastIndex.rawValue
        switch choice {
        case 0, 1:
            append(last + 1...last + 1 + UInt64(generator.below(5)), term: term)
        case 2:
            term += 1
            vote(term: term, commit: base)
        case 3 where last > base:
            term += 1
            let from = base + 1 + UInt64(generator.below(Int(last - base)))
            append(from...from, term: term)
        default: return false
        }
        return true
    }

    /// Has the entries written again, as when their file is wanted back.
    @discardableResult
    private func move(_ storage: WALRaftStorage, room: Int = 1 << 20) -> Bool {
        var room = room
        let isMoved = storage.moveEntries(outOfFilesBelow: .max, within: &room)
        written.take(from: storage)
        return isMoved
    }

    /// All entries, fetching what is not in memory.
    private func entries(_ storage: WALRaftStorage) throws -> [RaftEntry] {
        var found: [RaftEntry] = []
        while storage.firstIndex + found.count <= storage.lastIndex {
            let range = storage.firstIndex + found.count..<storage.lastIndex + 1
            do {
                found += try storage.entries(in: range, maxBytes: .max)
            } catch {
                try #require(error == .temporarilyUnavailable)
            }
        }
        return found
    }

    private func expectSame(_ recovered: WALRaftStorage) throws {
        #expect(recovered.firstIndex == storage.firstIndex)
        #expect(recovered.lastIndex == storage.lastIndex)
        #expect(recovered.base == storage.base)
        #expect(recovered.hardState == storage.hardState)
        #expect(try entries(recovered) == entries(storage))
    }

    // MARK: Recovery

    @Test func `a log comes back with its entries and what must be remembered`() throws {
        append(1...3, term: 1)
        vote(term: 2, commit: 3)
        append(4...4, term: 2, kind: .configuration)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        try expectSame(recovered)
        #expect(try entries(recovered).last?.kind == .configuration)
    }

    @Test func `a group that wrote nothing comes back empty`() throws {
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        #expect(recovered.lastIndex == .zero && recovered.hardState == HardState())
    }

    @Test func `an entry written again has dropped all from there on`() throws {
        append(1...5, term: 1)
        append(3...3, term: 2)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        #expect(recovered.lastIndex == LogIndex(3))
        try expectSame(recovered)
    }

    @Test func `what the state machine holds is not brought back`() throws {
        append(1...5, term: 1)
        vote(term: 1, commit: 5)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: LogIndex(3), term: Term(1))
        #expect(recovered.firstIndex == LogIndex(4) && recovered.lastIndex == LogIndex(5))
        #expect(recovered.base.index == LogIndex(3) && recovered.base.term == Term(1))
        let whole = try written.recover()
        try whole.finishRecovery(applied: LogIndex(5), term: Term(1))
        #expect(whole.firstIndex == LogIndex(6) && whole.lastIndex == LogIndex(5))
    }

    @Test func `a state machine ahead of the log has the log begin after it`() throws {
        append(1...2, term: 1)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: LogIndex(10), term: Term(4))
        #expect(recovered.firstIndex == LogIndex(11) && recovered.lastIndex == LogIndex(10))
        #expect(recovered.hardState.commit == LogIndex(10))
        #expect(recovered.hardState.term == Term(4))
        #expect(try recovered.term(at: LogIndex(10)) == Term(4))
    }

    @Test func `files that were freed took only what the state machine holds`() throws {
        append(1...6, term: 1)
        vote(term: 1, commit: 6)
        written.released = 3
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: LogIndex(4), term: Term(1))
        #expect(recovered.firstIndex == LogIndex(5) && recovered.lastIndex == LogIndex(6))
    }

    @Test func `entries that were replaced do not hide what replaced them`() throws {
        written.recordsPerFile = 5
        append(1...8, term: 1)
        storage.truncatePrefix(through: LogIndex(2))
        vote(term: 2, commit: 2)
        // In the file of those of term 1 from 6 on, which goes on when that of 1 to 5 is freed.
        append(3...4, term: 2)
        vote(term: 2, commit: 4)
        #expect(storage.oldestFile == 2)
        written.released = 1
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: LogIndex(2), term: Term(1))
        try expectSame(recovered)
    }

    @Test func `entries that are nowhere are damage`() throws {
        append(1...6, term: 1)
        vote(term: 1, commit: 6)
        written.released = 3
        let recovered = try written.recover()
        #expect(throws: RaftLogReadError.compacted) {
            try recovered.finishRecovery(applied: LogIndex(2), term: Term(1))
        }
    }

    @Test func `a log that ends before what was known to be committed is damage`() throws {
        vote(term: 1, commit: 3)
        let recovered = try written.recover()
        #expect(throws: RaftLogReadError.beyondLastIndex) {
            try recovered.finishRecovery(applied: LogIndex(2), term: Term(1))
        }
    }

    @Test func `a state record that is damaged is refused`() throws {
        vote(term: 1, commit: 0)
        let (record, position) = written.records[0]
        for count in 0..<record.payload.count {
            let other = WALRaftStorage(group: Self.group, membership: Self.membership)
            #expect(throws: MalformedBytes.self) {
                try other.recover(
                    kind: .hardState,
                    term: 1,
                    index: 0,
                    payload: record.payload.prefix(count),
                    at: position
                )
            }
        }
    }

    @Test func `a group made anew under another number meets no record of the old one`() throws {
        append(1...5, term: 7)
        vote(term: 7, commit: 5)
        let recovered = try written.recover(Self.group + 1)
        try recovered.finishRecovery(applied: .zero, term: .zero)
        #expect(recovered.lastIndex == .zero && recovered.hardState == HardState())
    }

    // MARK: Space

    @Test func `the oldest file in need is that of the first entry or of the state`() throws {
        #expect(storage.oldestFile == 0)
        vote(term: 1, commit: 0)
        #expect(storage.oldestFile == 1)
        append(1...3, term: 1)
        #expect(storage.oldestFile == 1)
        storage.stageState()
        written.take(from: storage)
        #expect(storage.oldestFile == 2)
        storage.truncatePrefix(through: LogIndex(2))
        #expect(storage.oldestFile == 4)
        storage.truncatePrefix(through: LogIndex(3))
        #expect(storage.oldestFile == 5)
    }

    @Test func `an entry that is replaced stays until what replaces it is durable`() throws {
        vote(term: 1, commit: 0)
        append(1...3, term: 1)
        storage.stageState()
        written.take(from: storage)
        #expect(storage.oldestFile == 2)
        storage.append([RaftEntry(index: LogIndex(1), term: Term(2), payload: .empty)])
        #expect(storage.oldestFile == 2)
        written.take(from: storage)
        #expect(storage.oldestFile == 5)
    }

    @Test func `what was replaced before the start keeps no file`() throws {
        append(1...2, term: 1)
        append(1...1, term: 2)
        vote(term: 2, commit: 0)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        #expect(recovered.oldestFile == 3)
    }

    @Test func `an entry not yet durable does not let go of older files`() {
        vote(term: 1, commit: 0)
        storage.append([RaftEntry(index: LogIndex(1), term: Term(1), payload: .empty)])
        #expect(storage.oldestFile == 1)
    }

    // MARK: Moving entries

    @Test func `entries are moved out of the oldest files and none is lost`() throws {
        append(1...3, term: 1)
        append(4...4, term: 1, kind: .configuration)
        vote(term: 1, commit: 0)
        #expect(storage.oldestFile == 1)
        #expect(move(storage))
        #expect(storage.oldestFile == 5)
        written.released = 4
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        try expectSame(recovered)
        #expect(recovered.oldestFile == 5)
    }

    @Test func `of entries that were not moved all together none is lost`() throws {
        append(1...3, term: 1)
        vote(term: 1, commit: 0)
        move(storage)
        append(4...4, term: 1)
        for count in 4...8 {
            let recovered = try written.recover(of: count)
            try recovered.finishRecovery(applied: .zero, term: .zero)
            #expect(recovered.lastIndex == LogIndex(count < 8 ? 3 : 4))
            // Those that follow the first may be there alone.
            #expect(recovered.oldestFile == 1)
        }
    }

    @Test func `entries that are on their way are not moved a second time`() {
        append(1...2, term: 1)
        vote(term: 1, commit: 0)
        var room = 100
        #expect(storage.moveEntries(outOfFilesBelow: 2, within: &room))
        #expect(room == 100 - 2 * "1/1".utf8.count)
        #expect(!storage.moveEntries(outOfFilesBelow: 2, within: &room))
        #expect(storage.oldestFile == 1)
        written.take(from: storage)
        #expect(storage.oldestFile == 3)
        #expect(!storage.moveEntries(outOfFilesBelow: 4, within: &room))
        #expect(storage.moveEntries(outOfFilesBelow: 5, within: &room))
    }

    @Test func `more than there is room for is not moved`() {
        append(1...3, term: 1)
        #expect(!move(storage, room: 3 * "1/1".utf8.count - 1))
        #expect(storage.oldestFile == 0)
        #expect(move(storage, room: 3 * "1/1".utf8.count))
    }

    @Test func `what recovery left in the log is fetched and then moved`() throws {
        append(1...3, term: 1)
        vote(term: 1, commit: 0)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        #expect(!move(recovered))
        #expect(move(recovered))
        written.released = 4
        #expect(try entries(try written.recover()) == entries(storage))
    }

    @Test func `entries that replace moved ones stay, however late those are durable`() throws {
        append(1...3, term: 1)
        vote(term: 1, commit: 0)
        var room = 100
        #expect(storage.moveEntries(outOfFilesBelow: .max, within: &room))
        append(2...2, term: 2)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        try expectSame(recovered)
        #expect(storage.lastIndex == LogIndex(2))
    }

    // MARK: Damage

    @Test func `what damage parted from the log stays out when the damaged file is gone`() throws {
        append(1...6, term: 1)
        vote(term: 2, commit: 6)
        append(7...9, term: 2)
        written.damaged = 8
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: LogIndex(6), term: Term(1))
        #expect(recovered.lastIndex == LogIndex(6))
        written.take(from: recovered)
        for released: UInt64 in [7, 8, 9, 10] {
            written.released = released
            let again = try written.recover()
            try again.finishRecovery(applied: LogIndex(6), term: Term(1))
            #expect(again.lastIndex == LogIndex(6))
            #expect(again.base.term == Term(1))
            #expect(again.hardState.term == recovered.hardState.term)
            #expect(again.abstention == recovered.abstention)
            #expect(again.abstention != nil)
        }
    }

    /// Others keep the files of the entries from the fourth on, those before are freed, and the
    /// first of the moved is damaged.
    private func moveIntoDamage() {
        append(1...6, term: 3)
        vote(term: 3, commit: 0)
        move(storage)
        append(7...7, term: 3)
        written.released = 3
        written.damaged = 8
    }

    @Test func `entries that damage took while they were moved are asked of others`() throws {
        moveIntoDamage()
        let recovered = try written.recover()
        #expect(recovered.firstIndex == LogIndex(4))
        #expect(recovered.lastIndex == LogIndex(7))
        try recovered.finishRecovery(applied: LogIndex(2), term: Term(3))
        #expect(recovered.base.index == LogIndex(2))
        #expect(recovered.base.term == Term(3))
        #expect(recovered.lastIndex == LogIndex(2))
        #expect(recovered.hardState.commit == LogIndex(2))
        #expect(recovered.hardState.term > Term(3))
        #expect(recovered.abstention?.until == recovered.hardState.term)
        written.take(from: recovered)
        written.damaged = nil
        let again = try written.recover()
        try again.finishRecovery(applied: LogIndex(2), term: Term(3))
        #expect(again.lastIndex == LogIndex(2))
        #expect(again.abstention == recovered.abstention)
    }

    @Test func `entries that damage took and nobody else has are an error`() throws {
        moveIntoDamage()
        let recovered = try written.recover()
        recovered.cannotBeRepaired()
        #expect(throws: RaftLogReadError.compacted) {
            try recovered.finishRecovery(applied: LogIndex(2), term: Term(3))
        }
    }

    @Test(arguments: 0..<20)
    func `whatever was damaged, the log comes back as it was settled`(_ seed: Int) throws {
        var generator = Numbers(seed: UInt64(seed))
        var term: UInt64 = 1
        for _ in 0..<30 {
            let hasWritten = write(generator.below(5), &term, &generator)
            if !hasWritten { move(storage) }
        }
        vote(term: term, commit: 0)
        let count = written.records.count
        for damaged in 1...UInt64(count) {
            written.damaged = damaged
            written.released = 0
            let settled = try written.recover()
            try settled.finishRecovery(applied: .zero, term: .zero)
            let found = try entries(settled)
            #expect(found.map(\.index) == (0..<found.count).map { LogIndex(UInt64($0) + 1) })
            let applied = generator.below(found.count + 1)
            let appliedTerm = applied == 0 ? .zero : found[applied - 1].term
            settled.truncatePrefix(through: LogIndex(UInt64(applied)))
            written.take(from: settled)
            for released in [0, damaged - 1, damaged, damaged + 5, UInt64(count)] {
                written.released = min(released, settled.oldestFile - 1)
                let again = try written.recover()
                try again.finishRecovery(applied: LogIndex(UInt64(applied)), term: appliedTerm)
                let left = try entries(again)
                let isSame = left == Array(found.dropFirst(applied))
                #expect(again.hardState.term >= settled.hardState.term)
                guard written.released >= damaged else {
                    #expect(isSame || again.abstention != nil)
                    continue
                }
                #expect(isSame)
                #expect(again.hardState.term == settled.hardState.term)
                #expect(again.hardState.vote == settled.hardState.vote)
                #expect(again.abstention == settled.abstention)
            }
            written.forget(after: count)
        }
    }

    // MARK: Fetching

    @Test func `entries are fetched a page at a time, once`() throws {
        append(1...10, term: 1)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        var asked: [ClosedRange<LogIndex>] = []
        recovered.fetch = { range, _ in asked.append(range) }
        for _ in 0..<2 {
            #expect(throws: RaftLogReadError.temporarilyUnavailable) {
                try recovered.entries(in: LogIndex(3)..<LogIndex(6), maxBytes: .max)
            }
        }
        #expect(asked == [LogIndex(3)...LogIndex(5)])
        recovered.truncateSuffix(from: LogIndex(5))
        recovered.fetched(asked[0], [ByteSlice("x"), ByteSlice("y"), ByteSlice("z")])
        let entries = try recovered.entries(in: LogIndex(3)..<LogIndex(5), maxBytes: .max)
        #expect(entries.map(\.payload.bytes) == [Array("x".utf8), Array("y".utf8)])
    }

    @Test func `a page ends where memory ends`() throws {
        append(1...4, term: 1)
        let recovered = try written.recover()
        try recovered.finishRecovery(applied: .zero, term: .zero)
        recovered.fetched(LogIndex(1)...LogIndex(2), [ByteSlice("x"), ByteSlice("y")])
        let page = try recovered.entries(in: LogIndex(1)..<LogIndex(5), maxBytes: .max)
        #expect(page.map(\.index) == [LogIndex(1), LogIndex(2)])
    }

    // MARK: Any history

    @Test(arguments: 0..<40)
    func `whatever was written, the log comes back as it was`(_ seed: Int) throws {
        var generator = Numbers(seed: UInt64(seed))
        written.recordsPerFile = seed % 2 == 0 ? 1 : 2 + generator.below(30)
        var term: UInt64 = 1
        for _ in 0..<200 {
            let first = storage.base.index.rawValue
            let last = storage.lastIndex.rawValue
            let before = written.records.count
            let choice = generator.below(6)
            switch choice {
            case _ where write(choice, &term, &generator): break
            case 4:
                move(storage)
                let cut = before + generator.below(written.records.count - before + 1)
                #expect(try entries(try written.recover(of: cut)) == entries(storage))
            default:
                let through = first + UInt64(generator.below(Int(last - first) + 1))
                storage.truncatePrefix(through: LogIndex(through))
                storage.stageState()
                written.take(from: storage)
                if storage.oldestFile > 0 { written.released = storage.oldestFile - 1 }
            }
            let recovered = try written.recover()
            try recovered.finishRecovery(applied: storage.base.index, term: storage.base.term)
            #expect(recovered.lastIndex == storage.lastIndex)
            #expect(recovered.hardState.vote == storage.hardState.vote)
            #expect(try entries(recovered) == entries(storage))
        }
    }
}

@Suite struct GroupStateRecordTests {
    @Test func `a record is read as it was written`() throws {
        let ids = (1...4).map { ReplicaID($0) }
        let record = GroupStateRecord(
            hardState: HardState(term: Term(5), vote: ids[1], commit: LogIndex(9)),
            base: SnapshotMetadata(
                index: LogIndex(7),
                term: Term(4),
                membership: Membership(
                    voters: [ids[0], ids[1]],
                    outgoingVoters: [ids[0], ids[2]],
                    learners: [ids[3]],
                    learnersNext: [ids[2]],
                    autoLeave: true
                )
            ),
            last: LogIndex(12),
            lastTerm: Term(5),
            abstention: Abstention(until: Term(8), reason: .damagedLog),
            earlierEnd: LogPosition(term: Term(3), index: LogIndex(9))
        )
        #expect(try GroupStateRecord(decoding: record.encoded(), term: 5) == record)
        var bytes = record.encoded().array
        bytes[0] = 1
        #expect(throws: MalformedBytes.unsupportedVersion(1)) {
            try GroupStateRecord(decoding: ByteSlice(bytes), term: 5)
        }
    }
}
