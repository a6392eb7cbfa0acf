import RaftScript

/// `chronik-sim raft`: a script, and a line of JSON after each of its directives.
enum ScriptRun {
    static func run(path: String, write: (String) -> Void) throws(SimError) {
        let text = try Input.read(path: path)
        do throws(ScriptError) {
            let script = try Script(parsing: text)
            let name = path.split(separator: "/").last.map(String.init) ?? path
            var cluster = ScriptCluster()
            for directive in script.directives {
                try cluster.run(directive)
                write(cluster.state(after: directive, file: name) + "\n")
            }
        } catch {
            throw .malformed(path: path, line: error.line, reason: error.reason)
        }
    }
}
