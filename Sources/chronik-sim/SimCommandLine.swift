/// Turns arguments into what is to be done.
enum SimCommandLine {
    enum Command {
        case help(String)
        case script(path: String)
    }

    static func parse(_ arguments: [String]) throws(SimError) -> Command {
        if arguments.contains("--help") || arguments.contains("-h") { return .help(help) }
        guard let command = arguments.first else { throw .usage("no command given; see --help") }
        let rest = arguments.dropFirst()
        switch command {
        case "raft": return try parseScript(rest)
        default: throw .usage("unknown command \(command); see --help")
        }
    }

    private static func parseScript(_ rest: ArraySlice<String>) throws(SimError) -> Command {
        guard let path = rest.first, rest.count == 1 else {
            throw .usage("raft takes one script: chronik-sim raft FILE, or - for standard input")
        }
        guard path == "-" || !path.hasPrefix("-") else { throw .usage("unknown flag \(path)") }
        return .script(path: path)
    }

    static let help = """
        Usage: chronik-sim raft FILE

        Makes Raft visible, and puts it to the test.

        Commands:
          raft FILE   Runs a script that drives a small group of replicas directive by directive,
                      and prints the whole state after each of them as a line of JSON. With - the
                      script is read from standard input. The language: docs/raft-scripts.md.

        Exit code: 0 when it ran, 64 for a wrong command line, 65 for a malformed script (with the
        line), 66 when the file cannot be read.

        """
}
