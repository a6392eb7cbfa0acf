import Broker
import Configuration
import Glibc
import Platform

/// The broker's process: reads what it is told, runs a node, and ends when it is asked to.
@main
enum ChronikServer {
    static let version = "0.1.0"
    private static let log = Logger("server")

    static func main() {
        let invocation: CommandLineParser.Invocation
        do {
            invocation = try CommandLineParser.parse(
                arguments: Array(CommandLine.arguments.dropFirst()),
                environment: ProcessEnvironment.variables(),
                version: version
            )
        } catch {
            printError("chronik-server: " + error.message)
            exit(ConfigurationError.exitCode)
        }
        switch invocation {
        case .print(let text):
            print(text, terminator: "")
        case .standalone(let configuration, let warnings):
            Logger.configure(level: configuration.logLevel, format: configuration.logFormat)
            for warning in warnings { log.warning(warning) }
            run(configuration, NodeSettings.make(configuration))
        case .cluster(let configuration, let warnings):
            let server = configuration.server
            Logger.configure(level: server.logLevel, format: server.logFormat)
            for warning in warnings { log.warning(warning) }
            run(server, NodeSettings.make(configuration), securedBy: NodeSecurity(configuration))
        }
    }

    static func printError(_ text: String) {
        var line = text + "\n"
        line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    /// Runs until SIGTERM or SIGINT.
    private static func run(
        _ configuration: ServerConfiguration,
        _ settings: Node.Settings,
        securedBy security: NodeSecurity? = nil
    ) -> Never {
        var settings = settings
        // One core is left to the thread that writes the log: every loop more costs wake-ups.
        let loopCount = configuration.eventLoops ?? max(1, RealPlatform.processorCount - 1)
        RealPlatform.tuneMemory(loopCount: loopCount)
        let platform = RealPlatform(loopCount: loopCount)
        do {
            settings.cluster?.stage = try security?.stage(on: platform)
        } catch {
            printError("chronik-server: \(error)")
            exit(ConfigurationError.exitCode)
        }
        let life = NodeLife(platform: platform, settings: settings)
        // Before anything answers: who hears that the process lives may ask it to end.
        platform.onTermination { life.end() }
        life.begin { () throws(ConfigurationError) in
            try AdminDoor.open(configuration, on: platform)
        }
        while true { pause() }
    }
}
