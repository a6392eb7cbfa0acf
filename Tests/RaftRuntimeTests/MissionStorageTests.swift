import Glibc
import Platform
import Raft
import Simulator
import Testing
import WriteAheadLog

@testable import RaftRuntime

/// What a storage on the WAL must do, on simulated files and once on real ones.
@Suite(.timeLimit(.minutes(10))) struct MissionStorageTests {
    private static let membership = Membership(voters: [1, 2, 3].map { ReplicaID($0) })

    enum Files: CaseIterable, Sendable { case simulated, real }

    /// A machine that can be started again over the same files.
    private final class Machine {
        private let simulation = Simulation(seed: 1)
        private let disk: SimulatedFileSystem?
        private let directory: String
        private(set) var node: StorageNode

        init(_ files: Files) throws {
            if files == .simulated {
                let disk = SimulatedFileSystem(simulation)
                self.disk = disk
                directory = "/wal"
                node = try Self.start(simulation, disk, directory)
            } else {
                disk = nil
                directory = "/var/tmp/chronik-storage-\(getpid())-\(UInt64.random(in: 0 ... .max))"
                node = try Self.start(simulation, nil, directory)
            }
        }

        deinit { if disk == nil { try? node.platform.files.removeTree(directory) } }

        private static func start(
            _ simulation: Simulation,
            _ disk: SimulatedFileSystem?,
            _ directory: String
        ) throws -> StorageNode {
            let platform: any HostPlatform =
                if let disk {
                    SimulatedPlatform(simulation, host: "node", files: disk)
                } else {
                    RealPlatform(loopCount: 1)
                }
            return try StorageNode(platform, directory: directory)
        }

        /// Makes what is staged durable.
        func write(_ storages: WALRaftStorage...) {
            let loop = node.platform.loops[0]
            let node = node
            guard disk == nil else {
                nonisolated(unsafe) var isDurable = false
                loop.execute { node.write(storages, on: loop) { isDurable = true } }
                #expect(simulation.run(for: .seconds(10)) { isDurable })
                return
            }
            let done = ThreadSignal()
            loop.execute { node.write(storages, on: loop) { done.fire() } }
            done.wait()
        }

        /// The process ends, on a simulated machine with the power, and starts again.
        func restart() throws {
            if let disk {
                disk.cutPower()
                disk.powerOn()
            } else {
                // Threads of a process that has ended touch no files any more.
                let done = ThreadSignal()
                node.wal.close { _ in done.fire() }
                done.wait()
            }
            node = try Self.start(simulation, disk, directory)
        }

        func storage(_ group: UInt64) throws -> WALRaftStorage {
            let storage = try #require(node.found[group])
            try storage.finishRecovery(applied: storage.base.index, term: storage.base.term)
            return storage
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

    private static func texts(_ entries: [RaftEntry]) -> [String] {
        entries.map { String(decoding: $0.payload.bytes, as: UTF8.self) }
    }

    @Test(arguments: Files.allCases)
    func append(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        storage.append(Self.entries(1...3, term: 1))
        #expect(storage.firstIndex == LogIndex(1) && storage.lastIndex == LogIndex(3))
        machine.write(storage)
        storage.append(Self.entries(4...1000, term: 2))
        machine.write(storage)
        #expect(storage.lastIndex == LogIndex(1000))
        #expect(try storage.term(at: LogIndex(3)) == Term(1))
        #expect(try storage.term(at: LogIndex(4)) == Term(2))
        try machine.restart()
        let again = try machine.storage(1)
        #expect(
            try machine.node.entries(again) == storage.entries(in: all(storage), maxBytes: .max)
        )
    }

    private func all(_ storage: WALRaftStorage) -> Range<LogIndex> {
        storage.firstIndex..<storage.lastIndex + 1
    }

    @Test(arguments: Files.allCases)
    func get(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        storage.append(Self.entries(1...5, term: 1))
        machine.write(storage)
        #expect(try storage.get(LogIndex(3))?.payload.bytes == Array("1/3".utf8))
        #expect(try storage.get(.zero) == nil && storage.get(LogIndex(6)) == nil)
        try machine.restart()
        let again = try machine.storage(1)
        #expect(try again.get(LogIndex(6)) == nil)
        // What recovery found is read from the WAL first.
        let read = try machine.node.entries(again, in: LogIndex(3)..<LogIndex(4))
        #expect(Self.texts(read) == ["1/3"])
        #expect(try again.get(LogIndex(3)) == read.first)
    }

    @Test(arguments: Files.allCases)
    func range(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        storage.append(Self.entries(1...10, term: 1))
        machine.write(storage)
        let page = storage.entries
        #expect(
            Self.texts(try page(LogIndex(3)..<LogIndex(6), .max)) == ["1/3", "1/4", "1/5"]
        )
        #expect(try page(LogIndex(3)..<LogIndex(3), .max).isEmpty)
        #expect(throws: RaftLogReadError.compacted) { try page(.zero..<LogIndex(2), .max) }
        #expect(throws: RaftLogReadError.beyondLastIndex) {
            try page(LogIndex(9)..<LogIndex(12), .max)
        }
        #expect(Self.texts(try page(LogIndex(2)..<LogIndex(6), 1)) == ["1/2"])
        try machine.restart()
        let again = try machine.storage(1)
        let read = try machine.node.entries(again, in: LogIndex(8)..<LogIndex(11))
        #expect(Self.texts(read) == ["1/8", "1/9", "1/10"])
    }

    @Test(arguments: Files.allCases)
    func hard_state(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        #expect(storage.hardState == HardState())
        storage.append(Self.entries(1...2, term: 3))
        for term: UInt64 in 3...9 {
            let vote = ReplicaID(term % 3 + 1)
            storage.setHardState(HardState(term: Term(term), vote: vote, commit: LogIndex(2)))
            machine.write(storage)
        }
        storage.setHardState(HardState(term: Term(10), vote: nil, commit: LogIndex(2)))
        machine.write(storage)
        try machine.restart()
        let again = try machine.storage(1)
        #expect(again.hardState == HardState(term: Term(10), vote: nil, commit: LogIndex(2)))
        #expect(again.base.membership == Self.membership)
        #expect(again.abstention == nil)
    }

    @Test(arguments: Files.allCases)
    func truncate_suffix(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        storage.append(Self.entries(1...10, term: 1))
        machine.write(storage)
        storage.truncateSuffix(from: LogIndex(6))
        #expect(storage.lastIndex == LogIndex(5))
        #expect(throws: RaftLogReadError.beyondLastIndex) { try storage.term(at: LogIndex(6)) }
        storage.append(Self.entries(6...7, term: 2))
        machine.write(storage)
        // Entries that come again replace all from there on.
        storage.append(Self.entries(3...4, term: 3))
        machine.write(storage)
        #expect(storage.lastIndex == LogIndex(4))
        try machine.restart()
        let again = try machine.storage(1)
        #expect(Self.texts(try machine.node.entries(again)) == ["1/1", "1/2", "3/3", "3/4"])
    }

    @Test(arguments: Files.allCases)
    func truncate_prefix(_ files: Files) throws {
        let machine = try Machine(files)
        let storage = WALRaftStorage(group: 1, membership: Self.membership)
        storage.append(Self.entries(1...4, term: 1) + Self.entries(5...10, term: 2))
        machine.write(storage)
        storage.truncatePrefix(through: LogIndex(6))
        storage.stageState()
        machine.write(storage)
        #expect(storage.firstIndex == LogIndex(7) && storage.lastIndex == LogIndex(10))
        #expect(try storage.term(at: LogIndex(6)) == Term(2))
        #expect(throws: RaftLogReadError.compacted) { try storage.term(at: LogIndex(5)) }
        #expect(try storage.get(LogIndex(6)) == nil)
        try machine.restart()
        let again = try machine.storage(1)
        #expect(again.base == storage.base)
        #expect(Self.texts(try machine.node.entries(again)) == ["2/7", "2/8", "2/9", "2/10"])
        again.truncatePrefix(through: LogIndex(10))
        #expect(again.firstIndex == LogIndex(11) && again.lastIndex == LogIndex(10))
        again.append(Self.entries(11...11, term: 3))
        machine.write(again)
        try machine.restart()
        let third = try machine.storage(1)
        #expect(third.lastIndex == LogIndex(11))
    }

    @Test(arguments: Files.allCases)
    func recovery_after_restart(_ files: Files) throws {
        let machine = try Machine(files)
        var storages = (1...20).map {
            WALRaftStorage(group: UInt64($0), membership: Self.membership)
        }
        for life in 1...5 as ClosedRange<UInt64> {
            for storage in storages {
                let next = storage.lastIndex.rawValue + 1
                storage.append(Self.entries(next...next + storage.group, term: life))
                storage.setHardState(
                    HardState(
                        term: Term(life),
                        vote: ReplicaID(1 + storage.group % 3),
                        commit: storage.lastIndex
                    )
                )
                machine.write(storage)
            }
            // What was not durable is not waited for.
            let lost = WALRaftStorage(group: 99, membership: Self.membership)
            lost.append(Self.entries(1...1, term: life))
            let before = storages
            try machine.restart()
            #expect(machine.node.found[99] == nil)
            storages = try before.map { try machine.storage($0.group) }
            for (old, new) in zip(before, storages) {
                #expect(new.lastIndex == old.lastIndex && new.hardState == old.hardState)
                #expect(new.base == old.base)
                let texts = Self.texts(try machine.node.entries(new))
                #expect(texts.count == Int(life) * (Int(new.group) + 1))
                #expect(texts.last == "\(life)/\(new.lastIndex)")
            }
        }
    }

    /// Many groups on several event loops over one WAL, all at once.
    @Test(arguments: Files.allCases)
    func concurrent_access(_ files: Files) throws {
        let loopCount = 4
        let groupsPerLoop = 50
        let rounds: UInt64 = 10
        let simulation = Simulation(seed: 9)
        let disk = files == .simulated ? SimulatedFileSystem(simulation) : nil
        let directory = "/var/tmp/chronik-concurrent-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let platform: any HostPlatform =
            if let disk {
                SimulatedPlatform(simulation, host: "node", files: disk, loopCount: loopCount)
            } else {
                RealPlatform(loopCount: loopCount)
            }
        defer { if disk == nil { try? platform.files.removeTree(directory) } }
        let node = try StorageNode(platform, directory: directory, inlineSync: 300_000)
        let writers = platform.loops.map { loop in
            RoundWriter(node, loop, groups: groupsPerLoop, rounds: rounds)
        }
        for writer in writers { writer.start() }
        if disk != nil {
            #expect(simulation.run(for: .seconds(100)) { writers.allSatisfy(\.isDone) })
        } else {
            for writer in writers { writer.finished.wait() }
        }
        let again = try StorageNode(
            disk.map { disk in
                disk.cutPower()
                disk.powerOn()
                return SimulatedPlatform(simulation, host: "node", files: disk)
            } ?? platform,
            directory: directory
        )
        #expect(again.found.count == loopCount * groupsPerLoop)
        for storage in again.found.values {
            try storage.finishRecovery(applied: .zero, term: .zero)
            #expect(storage.lastIndex == LogIndex(3 * rounds))
            #expect(storage.hardState.term == Term(rounds))
            let expected = (1...rounds).flatMap { Self.entries(3 * $0 - 2...3 * $0, term: $0) }
            #expect(try again.entries(storage) == expected)
        }
    }

    /// Writes a few entries to each group of a loop, and more once those are durable.
    private final class RoundWriter: @unchecked Sendable {
        // Unchecked: confined to its loop.
        let finished = ThreadSignal()
        private(set) var isDone = false
        private let node: StorageNode
        private let loop: EventLoop
        private let storages: [WALRaftStorage]
        private let rounds: UInt64

        init(_ node: StorageNode, _ loop: EventLoop, groups: Int, rounds: UInt64) {
            self.node = node
            self.loop = loop
            self.rounds = rounds
            storages = (0..<groups).map {
                WALRaftStorage(
                    group: UInt64(loop.index * groups + $0),
                    membership: MissionStorageTests.membership
                )
            }
        }

        func start() {
            // Every group goes on by itself, so that the batches of all of them mix.
            for storage in storages { loop.execute { [self] in write(storage, 1) } }
        }

        private var left = 0

        private func write(_ storage: WALRaftStorage, _ round: UInt64) {
            if round == 1 { left += 1 }
            storage.append(MissionStorageTests.entries(3 * round - 2...3 * round, term: round))
            storage.setHardState(HardState(term: Term(round)))
            node.write([storage], on: loop) { [self] in
                if round < rounds { return write(storage, round + 1) }
                left -= 1
                guard left == 0 else { return }
                isDone = true
                finished.fire()
            }
        }
    }
}

/// Lets a test's thread wait for a loop's.
final class ThreadSignal: @unchecked Sendable {
    // Unchecked: a semaphore is made for it.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func fire() { sem_post(semaphore) }

    func wait() { while sem_wait(semaphore) != 0 {} }
}
