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
        let platform = RealPlatform(loopCount: settings.threads)
        if settings.mode == .limits {
            runLimits(settings, platform)
        }
        _ = Task(executorPreference: platform.loops[0]) {
            if settings.mode == .raftWire { await runRaftWire(settings) }
            await runLoad(settings, platform)
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
