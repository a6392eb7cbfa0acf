import Platform
import RaftRuntime

/// What many groups of three replicas cost while nothing happens, and how many entries they commit.
struct RaftRuntimeRun {
    struct Idle: Sendable {
        var groups = 0
        var electionSeconds = 0.0
        /// From the last election to the last group that falls silent.
        var silenceSeconds = 0.0
        var seconds = 0.0
        var processorSeconds = 0.0
        var nodes = 0
        var wire = MemoryWire.Counts()
        /// Replicas that were ticked when the time was over.
        var awake = 0

        /// Of a core, for the whole process.
        var corePercent: Double { 100 * processorSeconds / max(1e-9, seconds) }
        var nodeCorePercent: Double { corePercent / Double(max(1, nodes)) }
    }

    struct Active: Sendable {
        var groups = 0
        var seconds = 0.0
        var processorSeconds = 0.0
        var nodes = 0
        var committed = 0
        var failed = 0
        /// Of all nodes together.
        var fdatasyncs = 0
        var logBytes = 0
        var wire = MemoryWire.Counts()

        var perSecond: Double { Double(committed) / max(1e-9, seconds) }
        /// On each node, for every thousand entries that are committed and durable on all.
        var fdatasyncsPerThousand: Double {
            1_000 * Double(fdatasyncs) / Double(max(1, nodes)) / Double(max(1, committed))
        }
    }

    static let defaultGroups = 10_000

    let groups: Int
    let nanoseconds: Int64
    let directory: String
    var electionTicks = RaftConfig().electionTicks
    let progress: @Sendable (String) -> Void

    /// What is asked for, of the same nodes, idle first.
    func measure(idle: Bool, active: Bool) async throws(BenchError) -> (Idle?, Active?) {
        do {
            var config = RaftConfig()
            config.electionTicks = electionTicks
            let trio = try await RaftTrio.start(
                groups: groups,
                under: directory,
                config: config
            )
            do {
                let figures = try await measure(trio, idle, active)
                try await trio.stop()
                return figures
            } catch {
                try? await trio.stop()
                throw error
            }
        } catch let error as BenchError {
            throw error
        } catch {
            throw .file("\(error)")
        }
    }

    private func measure(
        _ trio: RaftTrio,
        _ idle: Bool,
        _ active: Bool
    ) async throws -> (Idle?, Active?) {
        let began = trio.clock.monotonicNanoseconds
        try await trio.elect()
        let elected = Self.seconds(since: began, trio)
        progress("\(Decimals.grouped(groups)) groups led after \(Decimals.text(elected, 2)) s")
        var figures: (idle: Idle?, active: Active?) = (nil, nil)
        if idle {
            var result = try await measureIdle(trio)
            result.electionSeconds = elected
            figures.idle = result
        }
        if active { figures.active = try await measureActive(trio) }
        return figures
    }

    private func measureIdle(_ trio: RaftTrio) async throws -> Idle {
        let before = trio.clock.monotonicNanoseconds
        try await trio.fallSilent()
        var figures = Idle(groups: groups)
        figures.nodes = trio.nodes.count
        figures.silenceSeconds = Self.seconds(since: before, trio)
        progress("all silent after another \(Decimals.text(figures.silenceSeconds, 2)) s; idling")
        let processor = ProcessorTime.now()
        let wire = trio.wire.counts
        let began = trio.clock.monotonicNanoseconds
        await trio.pass(nanoseconds)
        figures.seconds = Self.seconds(since: began, trio)
        figures.processorSeconds = ProcessorTime.now().since(processor).total
        figures.wire = trio.wire.counts.since(wire)
        for node in trio.nodes { figures.awake += try await node.run { $0.awakeCount } }
        return figures
    }

    private func measureActive(_ trio: RaftTrio) async throws -> Active {
        progress("proposing in all of them")
        for node in trio.nodes { try await node.run { $0.beginProposing() } }
        // The first ones wake the groups and fill what is allocated once.
        await trio.pass(nanoseconds / 5)
        var figures = Active(groups: groups)
        figures.nodes = trio.nodes.count
        let processor = ProcessorTime.now()
        let (wire, committed, failed) = (trio.wire.counts, trio.committed, trio.failed)
        let (fdatasyncs, logBytes) = (trio.fdatasyncs, trio.logBytes)
        let began = trio.clock.monotonicNanoseconds
        await trio.pass(nanoseconds)
        figures.seconds = Self.seconds(since: began, trio)
        figures.processorSeconds = ProcessorTime.now().since(processor).total
        figures.committed = trio.committed - committed
        figures.failed = trio.failed - failed
        figures.fdatasyncs = trio.fdatasyncs - fdatasyncs
        figures.logBytes = trio.logBytes - logBytes
        figures.wire = trio.wire.counts.since(wire)
        for node in trio.nodes { try await node.run { $0.endProposing() } }
        return figures
    }

    private static func seconds(since moment: Int64, _ trio: RaftTrio) -> Double {
        Double(trio.clock.monotonicNanoseconds - moment) / 1e9
    }
}
