import Bytes
import Raft
import Testing

@testable import RaftRuntime
@testable import WriteAheadLog

/// What only groups with several voters need of their storage.
@Suite struct SeveralVotersTests {
    private static let membership = Membership(voters: [1, 2, 3].map { ReplicaID($0) })

    /// What the WAL has, a record a file, and where it was damaged.
    private final class Written {
        enum Item {
            case record(WALRecord, WALPosition)
            case damage(highestTerm: UInt64)
        }
        var items: [Item] = []
        private var highestTerm: UInt64 = 0

        func take(from storage: WALRaftStorage) {
            for record in storage.takeStaged() {
                let position = WALPosition(
                    file: UInt64(items.count + 1),
                    offset: 4096,
                    length: record.payload.count,
                    seed: 0
                )
                items.append(.record(record, position))
                storage.recordIsDurable(record, at: position)
            }
        }

        /// The records of these places cannot be read any more.
        func lose(_ range: Range<Int>) {
            var term: UInt64 = 0
            for item in items[..<min(range.upperBound + 1, items.count)] {
                if case .record(let record, _) = item { term = max(term, record.term) }
            }
            items.replaceSubrange(range, with: [.damage(highestTerm: term)])
        }

        func recover(isNew: Bool = false) -> RecoveredGroups {
            let groups = RecoveredGroups(replica: ReplicaID(1))
            for item in items {
                switch item {
                case .damage(let term):
                    groups.take(WALDamage(file: "f", offset: 0, highestTerm: term))
                case .record(let record, let position):
                    let bytes = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
                    defer { bytes.deallocate() }
                    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: 64)
                    WALRecordHeader.encode(record, seed: 0, into: bytes)
                    guard let header = WALRecordHeader(decoding: UnsafeRawPointer(bytes)) else {
                        continue
                    }
                    do {
                        try groups.take(header, record.payload, at: position)
                    } catch {
                        Issue.record("\(error)")
                    }
                }
            }
            groups.opened(isNew: isNew)
            return groups
        }

        func storage(
            _ group: UInt64 = 1,
            applied: LogIndex = .zero,
            term: Term = .zero
        ) throws -> WALRaftStorage {
            let storage = try recover().storage(
                of: group,
                membership: SeveralVotersTests.membership,
                isNew: false
            )
            try storage.finishRecovery(applied: applied, term: term)
            return storage
        }
    }

    private let written = Written()
    private let storage = WALRaftStorage(group: 1, membership: membership)

    private func append(_ range: ClosedRange<UInt64>, term: UInt64) {
        storage.append(
            range.map { RaftEntry(index: LogIndex($0), term: Term(term), payload: .empty) }
        )
        written.take(from: storage)
    }

    private func change(_ index: UInt64, term: UInt64, adds replica: UInt64) {
        let change = ConfigurationChange([.init(.addLearner, ReplicaID(replica))])
        storage.append([
            RaftEntry(
                index: LogIndex(index),
                term: Term(term),
                kind: .configuration,
                payload: change.encoded()
            )
        ])
        written.take(from: storage)
    }

    private func state(_ term: UInt64, vote: UInt64? = nil, commit: UInt64 = 0) {
        storage.setHardState(
            HardState(term: Term(term), vote: vote.map { ReplicaID($0) }, commit: LogIndex(commit))
        )
        written.take(from: storage)
    }

    // MARK: Snapshots

    @Test func `a change of membership after a snapshot is not forgotten for the snapshot's`()
        throws
    {
        let snapshot = SnapshotMetadata(
            index: LogIndex(10),
            term: Term(5),
            membership: Membership(voters: [ReplicaID(1)])
        )
        storage.reset(to: snapshot)
        append(11...12, term: 5)
        change(13, term: 5, adds: 4)
        state(5, commit: 13)
        let recovered = try written.recover().storage(
            of: 1,
            membership: Self.membership,
            isNew: false
        )
        try recovered.finishRecovery(applied: LogIndex(13), term: Term(5))
        #expect(recovered.base.membership.learners == [ReplicaID(4)])
    }

    @Test func `a change of membership is not forgotten where entries after its record are freed`()
        throws
    {
        append(1...1, term: 1)
        change(2, term: 1, adds: 4)
        append(3...9, term: 1)
        storage.truncatePrefix(through: LogIndex(6))
        written.take(from: storage)
        // Nothing changed since what was just written down.
        storage.truncatePrefix(through: LogIndex(7))
        #expect(storage.oldestFile == 8)
        written.items.removeFirst(7)
        let recovered = try written.storage(applied: LogIndex(7), term: Term(1))
        #expect(recovered.base.membership.learners == [ReplicaID(4)])
    }

    @Test func `a snapshot replaces the log, and nothing that conflicts with it comes back`() throws
    {
        append(1...20, term: 3)
        state(3, commit: 2)
        let snapshot = SnapshotMetadata(
            index: LogIndex(10),
            term: Term(5),
            membership: Membership(voters: [1, 2].map { ReplicaID($0) })
        )
        storage.reset(to: snapshot)
        #expect(storage.firstIndex == LogIndex(11) && storage.lastIndex == LogIndex(10))
        #expect(storage.hardState.commit == LogIndex(10))
        written.take(from: storage)
        let again = try written.storage(applied: LogIndex(10), term: Term(5))
        #expect(again.lastIndex == LogIndex(10) && again.base == snapshot)
        append(11...12, term: 5)
        let third = try written.storage(applied: LogIndex(10), term: Term(5))
        #expect(third.lastIndex == LogIndex(12))
        #expect(try third.term(at: LogIndex(10)) == Term(5))
    }

    @Test func `until a snapshot is durable, what came before it is kept`() {
        state(1)
        append(1...3, term: 1)
        storage.stageState()
        written.take(from: storage)
        #expect(storage.oldestFile == 2)
        storage.reset(
            to: SnapshotMetadata(index: LogIndex(9), term: Term(1), membership: Self.membership)
        )
        #expect(storage.oldestFile == 2)
        written.take(from: storage)
        #expect(storage.oldestFile == 6)
    }

    @Test func `a state machine with a snapshot the log contradicts has the log begin after it`()
        throws
    {
        append(1...20, term: 3)
        let again = try written.storage(applied: LogIndex(10), term: Term(5))
        #expect(again.firstIndex == LogIndex(11) && again.lastIndex == LogIndex(10))
    }

    // MARK: Membership

    @Test func `the membership at the base is that of the base`() throws {
        state(1)
        append(1...3, term: 1)
        change(4, term: 1, adds: 4)
        append(5...6, term: 1)
        change(7, term: 1, adds: 5)
        storage.truncatePrefix(through: LogIndex(3))
        #expect(storage.base.membership.learners.isEmpty)
        storage.truncatePrefix(through: LogIndex(5))
        #expect(storage.base.membership.learners == [ReplicaID(4)])
        // Written at once: the file of the change may go from now on.
        #expect(storage.hasPending && storage.oldestFile == 1)
        written.take(from: storage)
        let again = try written.storage(applied: LogIndex(5), term: Term(1))
        #expect(again.base.membership.learners == [ReplicaID(4)])
        let later = try written.storage(applied: LogIndex(7), term: Term(1))
        #expect(later.base.membership.learners == [ReplicaID(4), ReplicaID(5)])
    }

    @Test func `a change that was cut off is not carried out`() throws {
        append(1...3, term: 1)
        change(4, term: 1, adds: 4)
        append(4...5, term: 2)
        storage.truncatePrefix(through: LogIndex(5))
        #expect(storage.base.membership == Self.membership)
        let again = try written.storage(applied: LogIndex(5), term: Term(2))
        #expect(again.base.membership == Self.membership)
    }

    @Test func `what may rest goes along with what is staged next`() throws {
        let storage = WALRaftStorage.bootstrapped(group: 7, membership: Self.membership)
        #expect(storage.hasPending)
        storage.letPendingRest()
        var records: [WALRecord] = []
        #expect(!storage.hasPending && storage.takePending(into: &records) == 0)
        #expect(storage.oldestFile == .max, "it keeps no file")
        storage.setHardState(HardState(term: Term(2), vote: ReplicaID(1), commit: LogIndex(1)))
        #expect(storage.hasPending && storage.takePending(into: &records) == 2)
        #expect(records.map(\.kind) == [.snapshotMetadata, .hardState] && !storage.hasPending)
        #expect(storage.oldestFile == 0, "it is on its way into a file that nobody knows yet")
        for record in records {
            let position = WALPosition(file: 3, offset: 4096, length: 1, seed: 0)
            storage.recordIsDurable(record, at: position)
        }
        #expect(storage.oldestFile == 3)
        storage.stageState()
        #expect(storage.takePending(into: &records) == 1)
    }

    @Test func `a founder is as it was whether it voted or not`() throws {
        let storage = WALRaftStorage.bootstrapped(group: 1, membership: Self.membership)
        for votes in [false, true] {
            if votes {
                storage.setHardState(
                    HardState(term: Term(2), vote: ReplicaID(3), commit: LogIndex(1))
                )
            }
            written.take(from: storage)
            let again = try written.storage(applied: LogIndex(1), term: Term(1))
            #expect(again.hardState == storage.hardState && again.base == storage.base)
            #expect(again.firstIndex == LogIndex(2) && again.lastIndex == LogIndex(1))
        }
    }

    // MARK: Removal

    @Test func `a group that was removed leaves its term and vote and nothing else`() throws {
        append(1...9, term: 4)
        state(7, vote: 3, commit: 9)
        storage.remove()
        written.take(from: storage)
        let groups = written.recover()
        let removed = groups.takeRemoved()
        #expect(removed.map(\.group) == [1] && groups.groups.isEmpty)
        #expect(removed.first?.lastIndex == .zero)
        let back = try written.storage()
        #expect(back.hardState == HardState(term: Term(7), vote: ReplicaID(3)))
        #expect(back.lastIndex == .zero && back.base.membership == Self.membership)
        #expect(back.abstention == nil && back.hasPending)
        written.take(from: back)
        back.append([RaftEntry(index: LogIndex(1), term: Term(8), payload: .empty)])
        written.take(from: back)
        let again = try written.storage()
        #expect(again.lastIndex == LogIndex(1) && again.hardState.vote == ReplicaID(3))
    }

    // MARK: Damage

    @Test func `damage that took nothing of a group does not concern it`() throws {
        state(1, vote: 2)
        append(1...3, term: 1)
        written.items.append(.damage(highestTerm: 9))
        append(4...4, term: 1)
        state(1, vote: 2, commit: 3)
        let again = try written.storage()
        #expect(!again.isInDoubt && again.abstention == nil)
        #expect(again.lastIndex == LogIndex(4) && again.hardState.term == Term(1))
    }

    @Test func `lost entries have the replica abstain, and it stays so`() throws {
        state(1, vote: 2)
        append(1...3, term: 1)
        state(1, vote: 2, commit: 2)
        append(4...6, term: 1)
        state(2, vote: 3, commit: 5)
        append(7...7, term: 2)
        written.lose(5..<8)
        for _ in 0..<2 {
            let again = try written.storage()
            // What came behind the damage is not known to follow.
            #expect(again.lastIndex == LogIndex(3))
            #expect(again.abstention == Abstention(until: Term(3), reason: .damagedLog))
            #expect(again.hardState == HardState(term: Term(3), commit: LogIndex(3)))
            written.take(from: again)
        }
        let repaired = try written.storage()
        let entries = (4...8).map {
            RaftEntry(index: LogIndex($0), term: Term($0 < 8 ? 2 : 4), payload: .empty)
        }
        repaired.append(entries)
        repaired.endAbstention()
        written.take(from: repaired)
        let whole = try written.storage()
        #expect(whole.abstention == nil && whole.lastIndex == LogIndex(8))
    }

    @Test func `an entry of another term behind damage may follow one that is lost`() throws {
        state(1)
        append(1...4, term: 1)
        append(3...4, term: 2)
        append(5...5, term: 2)
        written.lose(5..<7)
        let again = try written.storage()
        #expect(again.lastIndex == LogIndex(4) && again.abstention != nil)
        #expect(try again.term(at: LogIndex(4)) == Term(1))
    }

    @Test func `a lost vote is for a term that is over`() throws {
        state(1, vote: 2)
        append(1...3, term: 1)
        state(6, vote: 3)
        append(4...4, term: 1)
        written.lose(4..<5)
        let again = try written.storage()
        #expect(again.lastIndex == LogIndex(4) && again.abstention == nil)
        #expect(again.hardState == HardState(term: Term(7)))
    }

    @Test func `a group of which all is lost abstains, a new one does not`() throws {
        written.items.append(.damage(highestTerm: 4))
        let lost = try written.storage(8)
        #expect(lost.abstention == Abstention(until: Term(5), reason: .damagedLog))
        let new = try written.recover().storage(of: 9, membership: Self.membership, isNew: true)
        #expect(new.abstention == nil)
    }

    @Test func `without its log a voter abstains for good`() throws {
        let groups = written.recover(isNew: true)
        let storage = try groups.storage(of: 1, membership: Self.membership, isNew: false)
        try storage.finishRecovery(applied: .zero, term: .zero)
        #expect(storage.abstention?.isForGood == true)
        #expect(storage.abstention?.reason == .missingLog)
        let new = try groups.storage(of: 2, membership: Self.membership, isNew: true)
        #expect(new.abstention == nil)
    }

    @Test func `a single voter that may have lost something is refused`() throws {
        let alone = Membership(voters: [ReplicaID(1)])
        let storage = WALRaftStorage(group: 1, membership: alone)
        storage.setHardState(HardState(term: Term(1)))
        written.take(from: storage)
        written.items.append(.damage(highestTerm: 1))
        let groups = written.recover()
        #expect(throws: RecoveryProblem.self) {
            try groups.storage(of: 1, membership: alone, isNew: false)
        }
        #expect(throws: RecoveryProblem.self) {
            try groups.storage(of: 2, membership: alone, isNew: false)
        }
        let empty = Written().recover(isNew: true)
        #expect(throws: RecoveryProblem.missing(group: 3)) {
            try empty.storage(of: 3, membership: alone, isNew: false)
        }
    }

    // MARK: One of two

    private static let two = [ReplicaID(1), ReplicaID(2)]

    @Test func `one of two voters that lost its log's end votes for the other, and nobody else`() {
        for (voters, learners, leader, abstains) in [
            ([1, 2], [], 2, false),
            // What made a voter of it may be among what was lost.
            ([1, 2], [3], 2, true),
            ([1, 2], [], 3, true),
            ([2, 3], [], 2, true),
            ([1, 2, 3], [], 2, true),
        ] as [([UInt64], [UInt64], UInt64, Bool)] {
            let membership = Membership(
                voters: voters.map { ReplicaID($0) },
                learners: learners.map { ReplicaID($0) }
            )
            let storage = WALRaftStorage(group: 1, membership: membership)
            let (_, isAbstaining) = storage.lostEnd(
                in: Term(3),
                of: ReplicaID(1),
                toldBy: ReplicaID(leader)
            )
            #expect(isAbstaining == abstains && (storage.abstention != nil) == abstains)
        }
    }

    @Test func `what is left below an end that a leader counted on was committed`() throws {
        makeTwoOfThree(commit: 0)
        let (_, isAbstaining) = try written.storage().lostEnd(
            in: Term(3),
            of: ReplicaID(1),
            toldBy: ReplicaID(2)
        )
        #expect(!isAbstaining)
    }

    /// Whether the change that made them two is known as committed, and whether another follows.
    @Test(arguments: [(0, false, true), (4, false, false), (4, true, true)])
    func `one of two voters that may have lost entries abstains unless they are two for sure`(
        commit: UInt64,
        isThirdOnItsWay: Bool,
        abstains: Bool
    ) throws {
        makeTwoOfThree(commit: commit)
        if isThirdOnItsWay { change(6, term: 1, adds: 4) } else { append(6...6, term: 1) }
        append(7...7, term: 1)
        written.lose(written.items.count - 1..<written.items.count)
        let storage = try written.storage()
        #expect((storage.abstention != nil) == abstains)
        #expect(storage.lastIndex == LogIndex(6) && storage.hardState.term > Term(1))
    }

    private func makeTwoOfThree(commit: UInt64) {
        append(1...3, term: 1)
        storage.append([removal(at: 4, of: 3)])
        append(5...5, term: 1)
        state(1, commit: commit)
    }

    private func removal(at index: UInt64, of replica: UInt64) -> RaftEntry {
        RaftEntry(
            index: LogIndex(index),
            term: Term(1),
            kind: .configuration,
            payload: ConfigurationChange([.init(.removeReplica, ReplicaID(replica))]).encoded()
        )
    }
}
