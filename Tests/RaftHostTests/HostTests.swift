import Bytes
import Foundation
import Raft
import RaftRuntime
import RaftTransport
import Testing

@Suite struct HostTests {
    @Test func `a group of one serves, and comes back as it was`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let group = try await host.createGroup(7, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        #expect(try await group.leader() == ReplicaID(1))
        _ = try await group.propose(.set("a", "1"))
        #expect(try await group.propose(.set("a", "2")) == ByteSlice("1"))
        #expect(try await group.read { $0.values } == ["a": "2"])
        try await host.close()

        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        #expect(await again.dormantGroups == [7])
        let back = try await again.openGroup(7) { MemoryStateMachine() }
        #expect(await again.dormantGroups.isEmpty)
        #expect(try await back.leader() == ReplicaID(1))
        #expect(try await back.read { $0.values } == ["a": "2"])
        try await again.close()
    }

    @Test func `a group goes on from its image and the log after it`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let group = try await host.createGroup(1, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        _ = try await group.leader()
        for number in 0..<50 { _ = try await group.propose(.set("a", "\(number)")) }
        let end = try await group.compact()
        #expect(await group.info.firstIndex == end + 1)
        #expect(try await group.compact() == end)
        _ = try await group.propose(.set("b", "after"))
        try await host.close()

        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let back = try await again.openGroup(1) { MemoryStateMachine() }
        #expect(await back.info.firstIndex == end + 1)
        #expect(try await back.read { $0.values } == ["a": "49", "b": "after"])
        try await again.close()
    }

    @Test func `a log that fills up is compacted by itself`() async throws {
        let folder = Folder()
        var configuration = folder.configuration(1)
        configuration.logFileBytes = 64 << 10
        configuration.logBytes = 256 << 10
        let host = try await RaftHost.open(configuration, on: Folder.threads)
        let busy = try await host.createGroup(1, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        let idle = try await host.createGroup(2, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        _ = try await idle.propose(.set("seldom", "asked"))
        let value = String(repeating: "v", count: 4 << 10)
        for number in 0..<1_000 {
            while true {
                do throws(RaftError) {
                    _ = try await busy.propose(.set("key \(number % 7)", value))
                    break
                } catch {
                    try #require(error == .overloaded)
                    await Task.yield()
                }
            }
        }
        #expect(await busy.info.firstIndex > LogIndex(500))
        try await host.close()
        #expect(try folder.size(of: 1) < 2 << 20)

        let again = try await RaftHost.open(configuration, on: Folder.threads)
        let back = try await again.openGroup(1) { MemoryStateMachine() }
        #expect(try await back.read { $0.values.count } == 7)
        let idleBack = try await again.openGroup(2) { MemoryStateMachine() }
        #expect(try await idleBack.read { $0.values } == ["seldom": "asked"])
        try await again.close()
    }

    @Test func `a group that nobody opens keeps its part of the log`() async throws {
        let folder = Folder()
        var configuration = folder.configuration(1)
        configuration.logFileBytes = 64 << 10
        configuration.logBytes = 128 << 10
        let host = try await RaftHost.open(configuration, on: Folder.threads)
        for id in 1...2 as ClosedRange<UInt64> {
            let group = try await host.createGroup(id, voters: [ReplicaID(1)]) {
                MemoryStateMachine()
            }
            _ = try await group.propose(.set("a", "\(id)"))
        }
        try await host.close()

        let again = try await RaftHost.open(configuration, on: Folder.threads)
        let one = try await again.openGroup(1) { MemoryStateMachine() }
        let value = String(repeating: "v", count: 8 << 10)
        var refused = false
        for _ in 0..<100 where !refused {
            do throws(RaftError) {
                _ = try await one.propose(.set("b", value))
            } catch {
                refused = error == .overloaded
            }
        }
        #expect(refused)
        let two = try await again.openGroup(2) { MemoryStateMachine() }
        #expect(try await two.read { $0.values } == ["a": "2"])
        // With nothing held back there is room again.
        while true {
            do throws(RaftError) {
                _ = try await one.propose(.set("b", "again"))
                break
            } catch {
                try #require(error == .overloaded)
                await Task.yield()
            }
        }
        try await again.close()
    }

    @Test func `a group that is opened while room is made holds nothing back afterwards`()
        async throws
    {
        let folder = Folder()
        var configuration = folder.configuration(1)
        configuration.logFileBytes = 64 << 10
        configuration.logBytes = 128 << 10
        let host = try await RaftHost.open(configuration, on: Folder.threads)
        for id in [1, 2, 4] as [UInt64] {
            let group = try await host.createGroup(id, voters: [ReplicaID(1)]) {
                MemoryStateMachine()
            }
            _ = try await group.propose(.set("a", "\(id)"))
        }
        try await host.close()

        // Room is asked for once, with the second file. The one group that is slow has it wait on
        // its own loop; what fills the log, and what is opened, are on the other.
        let again = try await RaftHost.open(configuration, on: Folder.threads)
        let (begun, mayGoOn) = (AsyncStream<Void>.makeStream(), DispatchSemaphore(value: 0))
        _ = try await again.openGroup(1) {
            SlowImage(begun: { begun.continuation.yield() }, mayGoOn: mayGoOn)
        }
        let busy = try await again.openGroup(4) { MemoryStateMachine() }
        while await Self.isTaken(by: busy) {}
        for await _ in begun.stream { break }
        let late = try await again.openGroup(2) { MemoryStateMachine() }
        mayGoOn.signal()
        let deadline = ContinuousClock.now + .seconds(60)
        var isTaken = false
        while !isTaken && ContinuousClock.now < deadline {
            isTaken = await Self.isTaken(by: busy)
            await Task.yield()
        }
        #expect(isTaken)
        #expect(try await late.read { $0.values } == ["a": "2"])
        try await again.close()
    }

    private static func isTaken(by group: RaftGroup<MemoryStateMachine>) async -> Bool {
        let value = String(repeating: "v", count: 8 << 10)
        return (try? await group.propose(.set("b", value))) != nil
    }

    // MARK: What is refused

    @Test func `a directory belongs to one host, and to one node`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        await #expect(throws: RaftHostError.directoryInUse(folder.path + "/1")) {
            try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        }
        try await host.close()
        await #expect(throws: RaftHostError.closed) { try await host.close() }
        var other = folder.configuration(1)
        other.node = ReplicaID(2)
        await #expect(throws: RaftHostError.self) {
            try await RaftHost.open(other, on: Folder.threads)
        }
        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        try await again.close()
    }

    @Test func `a group is made once, and opened once`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let voters = [ReplicaID(1)]
        await #expect(throws: RaftHostError.unknownGroup(1)) {
            try await host.openGroup(1) { MemoryStateMachine() }
        }
        let group = try await host.createGroup(1, voters: voters) { MemoryStateMachine() }
        _ = try await group.propose(.set("a", "1"))
        await #expect(throws: RaftHostError.groupExists(1)) {
            try await host.createGroup(1, voters: voters) { MemoryStateMachine() }
        }
        try await host.close()
        await #expect(throws: RaftError.stopped) { try await group.propose(.set("a", "2")) }
        await #expect(throws: RaftError.stopped) { try await group.leader() }
        await #expect(throws: RaftHostError.closed) {
            try await host.joinGroup(2) { MemoryStateMachine() }
        }

        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        await #expect(throws: RaftHostError.groupExists(1)) {
            try await again.createGroup(1, voters: voters) { MemoryStateMachine() }
        }
        _ = try await again.openGroup(1) { MemoryStateMachine() }
        await #expect(throws: RaftHostError.groupExists(1)) {
            try await again.openGroup(1) { MemoryStateMachine() }
        }
        try await again.close()
    }

    @Test func `a damaged image is not believed`() async throws {
        let folder = Folder()
        let host = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        let group = try await host.createGroup(1, voters: [ReplicaID(1)]) { MemoryStateMachine() }
        _ = try await group.propose(.set("a", "1"))
        try await group.compact()
        try await host.close()
        try folder.damage("1/groups/1.image")
        let again = try await RaftHost.open(folder.configuration(1), on: Folder.threads)
        await #expect(throws: RaftHostError.self) {
            try await again.openGroup(1) { MemoryStateMachine() }
        }
        try await again.close()
    }

    @Test func `settings that make no sense are refused`() {
        let good = Folder().configuration(1)
        #expect(throws: Never.self) { try good.validate() }
        let changes: [(inout RaftHostConfiguration) -> Void] = [
            { $0.cluster = "" }, { $0.cluster = "a\nb" }, { $0.node = ReplicaID(0) },
            { $0.logBytes = 0 }, { $0.logFileBytes = 1 }, { $0.raft.electionTicks = 0 },
        ]
        for change in changes {
            var bad = good
            change(&bad)
            #expect(throws: RaftHostError.self) { try bad.validate() }
        }
    }
}

/// Takes its time for an image: until it is told to go on.
private final class SlowImage: StateMachine {
    private let machine = MemoryStateMachine()
    private let begun: () -> Void
    private let mayGoOn: DispatchSemaphore

    init(begun: @escaping () -> Void, mayGoOn: DispatchSemaphore) {
        self.begun = begun
        self.mayGoOn = mayGoOn
    }

    var lastApplied: LogIndex { machine.lastApplied }

    func apply(_ entry: RaftEntry) -> ByteSlice { machine.apply(entry) }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        begun()
        mayGoOn.wait()
        mayGoOn.signal()
        return try machine.snapshot(lastIndex: lastIndex, lastTerm: lastTerm)
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        try machine.restore(snapshot, lastIndex: lastIndex, lastTerm: lastTerm)
    }
}
