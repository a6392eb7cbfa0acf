import Glibc

/// Whole texts to the standard streams, written at once and in order.
enum Output {
    static func write(_ text: String) { write(text, to: STDOUT_FILENO) }

    static func writeError(_ text: String) { write(text, to: STDERR_FILENO) }

    static func write(_ text: String, toFile path: String) throws(SimError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw .unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        write(text, to: descriptor)
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeBufferPointer(rebasing: rest)
                let count = Glibc.write(descriptor, part.baseAddress, part.count)
                if count < 0 && errno == EINTR { continue }
                // Nobody reads on: nothing is left to be said.
                guard count > 0 else { exit(EX_IOERR) }
                rest = rest.dropFirst(count)
            }
        }
    }
}

/// The text of a file, or of standard input for `-`.
enum Input {
    static func read(path: String) throws(SimError) -> String {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: lastError) }
        defer { if path != "-" { close(descriptor) } }
        return try read(descriptor: descriptor, name: path)
    }

    static func read(descriptor: Int32, name path: String) throws(SimError) -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .unreadable(path: path, reason: lastError) }
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .malformed(path: path, line: 1, reason: "not UTF-8 text")
        }
        return text
    }

    private static var lastError: String { String(cString: strerror(errno)) }
}
