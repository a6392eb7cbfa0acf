import Glibc
import Platform

/// The program from arguments to exit code.
enum BenchProgram {
    static func run(_ arguments: [String]) -> Never {
        let settings: BenchSettings
        do {
            switch try BenchCommandLine.parse(arguments) {
            case .help(let text):
                print(text, terminator: "")
                exit(0)
            case .run(let parsed): settings = parsed
            }
        } catch {
            fail(error)
        }
        RealPlatform.tuneMemory(loopCount: settings.threads)
        let platform = RealPlatform(loopCount: settings.threads)
        switch settings.mode {
        case .limits: runLimits(settings, platform)
        case .raft:
            _ = Task(executorPreference: platform.loops[0]) { await runRaft(settings, platform) }
        case .raftRecovery:
            _ = Task(executorPreference: platform.loops[0]) {
                await runRecovery(settings, platform)
            }
        case .raftWire:
            _ = Task(executorPreference: platform.loops[0]) { await runRaftWire(settings) }
        case .metadata:
            _ = Task(executorPreference: platform.loops[0]) {
                await runMetadata(settings, platform)
            }
        case .produce, .consume, .roundTrip:
            _ = Task(executorPreference: platform.loops[0]) { await runLoad(settings, platform) }
        }
        // The loops work and end the process; this thread has nothing to do.
        while true { pause() }
    }

    private static func runLimits(_ settings: BenchSettings, _ platform: RealPlatform) -> Never {
        do {
            let figures = try MachineLimits(settings: settings, platform: platform).measure()
            print(settings.isJSON ? figures.json.rendered + "\n" : figures.table, terminator: "")
            exit(0)
        } catch {
            fail(error)
        }
    }

    private static func runRaft(_ settings: BenchSettings, _ platform: RealPlatform) async -> Never
    {
        let isAll = !settings.isCoreWanted && !settings.isIdleWanted && !settings.isActiveWanted
        var report = RaftReport()
        do {
            for batch in [1_000, 100, 1] where isAll || settings.isCoreWanted {
                let run = RaftCoreRun(batch: batch, entries: settings.entries)
                report.core.append(try run.measure(clock: platform.clock))
            }
            if isAll || settings.isIdleWanted || settings.isActiveWanted {
                let run = RaftRuntimeRun(
                    groups: settings.groups ?? RaftRuntimeRun.defaultGroups,
                    nanoseconds: settings.effectiveDuration ?? .seconds(10),
                    directory: settings.directory
                ) { [isQuiet = settings.isQuiet] line in
                    if !isQuiet { StandardError.write(line + "\n") }
                }
                (report.idle, report.active) = try await run.measure(
                    idle: isAll || settings.isIdleWanted,
                    active: isAll || settings.isActiveWanted
                )
            }
        } catch {
            fail(error)
        }
        print(settings.isJSON ? report.json.rendered + "\n" : report.table, terminator: "")
        exit(0)
    }

    private static func runRecovery(
        _ settings: BenchSettings,
        _ platform: RealPlatform
    ) async -> Never {
        do {
            let figures = try await RaftRecoveryRun(settings: settings, platform: platform)
                .measure()
            print(settings.isJSON ? figures.json.rendered + "\n" : figures.table, terminator: "")
            exit(0)
        } catch {
            fail(error)
        }
    }

    private static func runLoad(_ settings: BenchSettings, _ platform: RealPlatform) async -> Never
    {
        do {
            let report = try await LoadRun(settings: settings, platform: platform).run()
            print(settings.isJSON ? report.json.rendered + "\n" : report.table, terminator: "")
            exit(report.isComplete ? 0 : 1)
        } catch {
            fail(error)
        }
    }

    private static func runMetadata(
        _ settings: BenchSettings,
        _ platform: RealPlatform
    ) async -> Never {
        do {
            let report = try await MetadataRun(settings: settings, platform: platform).run()
            print(settings.isJSON ? report.json.rendered + "\n" : report.table, terminator: "")
            exit(report.isComplete ? 0 : 1)
        } catch {
            fail(error)
        }
    }

    private static func runRaftWire(_ settings: BenchSettings) async -> Never {
        do {
            let figures = try await RaftWireProbe().measure()
            print(settings.isJSON ? figures.json.rendered + "\n" : figures.table, terminator: "")
            exit(0)
        } catch {
            fail(error)
        }
    }

    private static func fail(_ error: BenchError) -> Never {
        StandardError.write("chronik-bench: \(error)\n")
        exit(error.exitCode)
    }
}
