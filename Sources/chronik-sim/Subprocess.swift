import Glibc

/// This very program, run in a process of its own.
struct Subprocess {
    let id: pid_t
    /// What it prints.
    let output: Int32

    static func start(_ arguments: [String]) throws(SimError) -> Subprocess {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else {
            throw .cannotSpawn(reason: String(cString: strerror(errno)))
        }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addclose(&actions, ends[1])
        defer { posix_spawn_file_actions_destroy(&actions) }
        var words: [UnsafeMutablePointer<CChar>?] = (["chronik-sim"] + arguments).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var process: pid_t = 0
        let result = posix_spawn(&process, "/proc/self/exe", &actions, nil, words, environ)
        close(ends[1])
        guard result == 0 else {
            close(ends[0])
            throw .cannotSpawn(reason: String(cString: strerror(result)))
        }
        return Subprocess(id: process, output: ends[0])
    }

    /// Waits until one of them prints or ends; which, of those that have.
    static func awaitAny(of processes: [Subprocess]) -> Int {
        var ends = processes.map { pollfd(fd: $0.output, events: Int16(POLLIN), revents: 0) }
        while true {
            let count = poll(&ends, nfds_t(ends.count), -1)
            precondition(count > 0 || errno == EINTR, "poll of pipes failed: \(errno)")
            if let index = ends.firstIndex(where: { $0.revents != 0 }) { return index }
        }
    }

    /// Everything it printed, once it has ended, and whether it ended well.
    func finish() throws(SimError) -> (text: String, isWell: Bool) {
        defer { close(output) }
        let text = try Input.read(descriptor: output, name: "the run")
        var status: Int32 = 0
        waitpid(id, &status, 0)
        return (text, status == 0)
    }

    /// Runs it to its end, and takes what it prints.
    static func output(of arguments: [String]) throws(SimError) -> String {
        try start(arguments).finish().text
    }
}
