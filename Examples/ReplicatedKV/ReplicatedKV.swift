import Glibc
import Raft
import RaftRuntime

/// Three nodes in one process, a leader that dies, and nothing that is lost.
///
/// Takes the folder to keep the logs in, which must be empty; without one it makes its own and
/// removes nothing. Exits with 1 if an acknowledged write is missing anywhere.
@main
struct ReplicatedKV {
    static func main() async {
        // That a dead node cannot be reached is part of the story.
        RaftDiagnostics.setLevel(.error)
        do {
            try await run(in: CommandLine.arguments.dropFirst().first ?? temporaryFolder())
        } catch {
            print("violated: \(error)")
            exit(1)
        }
    }

    private static func run(in folder: String) async throws {
        let cluster = Cluster(in: folder)
        try await cluster.start()
        let first = try await cluster.leader()
        print("node \(first) leads")

        var written: [String: String] = [:]
        func write(_ count: Int) async throws {
            let ids = cluster.ids
            for number in written.count..<written.count + count {
                let way = ids[number % ids.count]
                try await cluster.set("key-\(number)", to: "\(number)", by: way)
                written["key-\(number)"] = "\(number)"
            }
        }
        func check() async throws {
            for id in cluster.ids {
                for (key, value) in written {
                    let found = try await cluster.get(key, from: id)
                    guard found == value else {
                        throw Violation("node \(id) has \(key) = \(found ?? "nothing")")
                    }
                }
            }
            print("\(written.count) keys on each of nodes \(list(cluster.ids))")
        }

        try await write(100)
        try await check()

        try await cluster.kill(first)
        print("node \(first) is killed")
        let second = try await cluster.leader()
        guard second != first else { throw Violation("node \(first) leads and is dead") }
        print("node \(second) leads")
        try await check()
        try await write(100)
        try await check()

        try await cluster.start(first)
        print("node \(first) is back")
        try await check()
        try await cluster.stop()
        print("nothing was lost")
    }

    private static func list(_ ids: [ReplicaID]) -> String {
        ids.map(\.description).joined(separator: ", ")
    }

    private static func temporaryFolder() -> String {
        var template = Array("/tmp/replicated-kv-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return "/tmp/replicated-kv-\(getpid())" }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
