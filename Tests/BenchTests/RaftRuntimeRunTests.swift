import Platform
import Testing

@testable import chronik_bench

@Suite struct `Raft groups of three nodes in one process` {
    private func measure(
        idle: Bool,
        active: Bool
    ) async throws -> (idle: RaftRuntimeRun.Idle?, active: RaftRuntimeRun.Active?) {
        // A machine that is busy with something else must not look like a dead node.
        let run = RaftRuntimeRun(
            groups: 8,
            nanoseconds: .milliseconds(400),
            directory: "/tmp",
            electionTicks: 400,
            progress: { _ in }
        )
        return try await run.measure(idle: idle, active: active)
    }

    @Test func `idle groups are silent, and only nodes send beats`() async throws {
        let figures = try await measure(idle: true, active: false)
        #expect(figures.active == nil)
        let idle = try #require(figures.idle)
        #expect(idle.awake == 0)
        // Six a tick, at most one tick more than fits into the time.
        let ticks = Int(idle.seconds * 1e3) / 50 + 1
        #expect((1...6 * ticks).contains(idle.wire.frames))
        #expect(idle.wire.bytes >= 9 * idle.wire.frames)
        #expect(idle.wire.bytes < 64 * idle.wire.frames)
    }

    @Test func `active groups commit, in fewer fdatasyncs than entries`() async throws {
        let figures = try await measure(idle: true, active: true)
        let active = try #require(figures.active)
        #expect(active.committed > 0)
        #expect(active.failed == 0)
        #expect(active.fdatasyncs > 0)
        #expect(active.fdatasyncs < 3 * active.committed)
        #expect(active.logBytes > 16 * active.committed)
        #expect(active.wire.bytes > 2 * 16 * active.committed)
    }

    @Test func `the report has what was measured, and nothing else`() {
        var report = RaftReport()
        report.idle = RaftRuntimeRun.Idle(
            groups: 10,
            seconds: 10,
            processorSeconds: 0.6,
            nodes: 3
        )
        #expect(report.json.rendered.contains("\"core_percent_per_node\":2.000"))
        #expect(report.table.contains("6.00 % of a core, 2.00 % a node"))
        #expect(!report.json.rendered.contains("active"))
        #expect(!report.json.rendered.contains("batch_"))
    }
}
