import Glibc

/// The program from arguments to exit code.
enum SimProgram {
    static func run(_ arguments: [String]) -> Never {
        do throws(SimError) {
            switch try SimCommandLine.parse(arguments) {
            case .help(let text): Output.write(text)
            case .script(let path): try ScriptRun.run(path: path) { Output.write($0) }
            case .groups(let settings): exit(GroupRun.run(settings) ? 0 : 1)
            case .cluster(let settings): exit(try ClusterCommand.run(settings) ? 0 : 1)
            case .check(let path): exit(try CheckCommand.run(path: path) ? 0 : 1)
            case .planted(let settings): try PlantedRun.run(settings)
            }
        } catch {
            Output.writeError("chronik-sim: \(error)\n")
            exit(error.exitCode)
        }
        exit(0)
    }
}

/// Why the program ends without having done what it was asked.
enum SimError: Error, Equatable, CustomStringConvertible {
    case usage(String)
    /// A script that is none, with the line where it stops being one.
    case malformed(path: String, line: Int, reason: String)
    case unreadable(path: String, reason: String)
    case cannotSpawn(reason: String)

    var description: String {
        switch self {
        case .usage(let reason): reason
        case .malformed(let path, let line, let reason): "\(path):\(line): \(reason)"
        case .unreadable(let path, let reason): "\(path): \(reason)"
        case .cannotSpawn(let reason): "cannot start a process of its own: \(reason)"
        }
    }

    /// As `sysexits.h` numbers them.
    var exitCode: Int32 {
        switch self {
        case .usage: EX_USAGE
        case .malformed: EX_DATAERR
        case .unreadable: EX_NOINPUT
        case .cannotSpawn: EX_OSERR
        }
    }
}
