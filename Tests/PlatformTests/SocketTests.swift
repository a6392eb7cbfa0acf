import Bytes
import Glibc
import Platform
import Testing

/// Sockets of one loop against sockets of another, and against plain blocking ones.
@Suite(.timeLimit(.minutes(10))) struct SocketTests {
    private static let localhost = SocketAddress(host: "127.0.0.1", port: 0)

    /// Reads until `count` bytes are there or the peer has closed.
    private static func read(_ count: Int, from socket: Socket) async throws -> [UInt8] {
        let storage = ByteStorage(capacity: max(1, count))
        var done = 0
        while done < count {
            let rest = UnsafeMutableRawBufferPointer(
                start: storage.start + done,
                count: count - done
            )
            let n = try await socket.read(into: rest)
            if n == 0 { break }
            done += n
        }
        return storage.slice(0..<done).array
    }

    private static func error(_ body: () async throws -> Void) async -> NetworkError? {
        do {
            try await body()
            return nil
        } catch {
            return error as? NetworkError
        }
    }

    /// A listener and the two ends of a connection to it, all on the calling task's loop.
    private static func pair() async throws -> (near: Socket, far: Socket, Listener) {
        let listener = try Machine.loop.listen(localhost)
        let near = try await Machine.loop.connect(listener.address)
        let far = try Machine.loop.adopt(try await listener.accept())
        return (near, far, listener)
    }

    /// A connection whose other end is a plain blocking descriptor.
    private static func plainPair() async throws -> (Socket, descriptor: Int32) {
        let listener = try Machine.loop.listen(localhost)
        defer { listener.close() }
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = listener.address.port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(connected == 0)
        return (try Machine.loop.adopt(try await listener.accept()), descriptor)
    }

    @Test func `what one side writes the other reads, over two loops`() async throws {
        let (address, serving) = try await Machine.on(Machine.otherLoop) {
            let listener = try Machine.otherLoop.listen(Self.localhost)
            #expect(listener.address.port != 0)
            let serving = Task(executorPreference: Machine.otherLoop) {
                let socket = try Machine.otherLoop.adopt(try await listener.accept())
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1_000, alignment: 1)
                defer { buffer.deallocate() }
                while true {
                    let n = try await socket.read(into: buffer)
                    if n == 0 { break }
                    let part = UnsafeRawBufferPointer(rebasing: buffer[..<n])
                    try await socket.write(ByteRope(ByteSlice(copying: part)))
                }
                socket.close()
                listener.close()
            }
            return (listener.address, serving)
        }
        try await Machine.on {
            let socket = try await Machine.loop.connect(address)
            #expect(socket.peer == "127.0.0.1:\(address.port)")
            for count in [1, 999, 1_000, 1_001, 100_000] {
                let message = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
                async let echo = Self.read(count, from: socket)
                try await socket.write(ByteRope(ByteSlice(message)))
                #expect(try await echo == message)
            }
            socket.close()
        }
        try await serving.value
    }

    @Test func `a byte that was peeked at is there for whoever adopts the connection`() async throws
    {
        let (near, far, listener) = try await Machine.on { try await Self.pair() }
        let given = try await Machine.on {
            async let first = far.peek()
            try await near.write(ByteRope(ByteSlice("hello")))
            let bytes = [try await first, try await far.peek()]
            #expect(bytes == [UInt8(ascii: "h"), UInt8(ascii: "h")])
            let given = far.detach()
            far.close()
            let afterwards = await Self.error { _ = try await far.peek() }
            #expect(afterwards == .closed)
            return given
        }
        try await Machine.on(Machine.otherLoop) {
            let taken = try Machine.otherLoop.adopt(given)
            #expect(try await Self.read(5, from: taken) == Array("hello".utf8))
            try await taken.write(ByteRope(ByteSlice("back")))
            taken.close()
        }
        try await Machine.on {
            #expect(try await Self.read(4, from: near) == Array("back".utf8))
            let end = try await near.peek()
            #expect(end == nil)
            near.close()
            listener.close()
        }
    }

    @Test func `a rope of many pieces, some of them in a file, arrives whole`() async throws {
        let directory = "/var/tmp/chronik-socket-\(getpid())"
        try Machine.platform.files.createDirectory(directory)
        defer { try? Machine.platform.files.removeTree(directory) }
        let file = try Machine.platform.files.open(directory + "/f", .create)
        let stored = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 256 ^ $0) }
        try stored.withUnsafeBytes { try file.write($0, at: 0) }
        try await Machine.on {
            let (near, far, listener) = try await Self.pair()
            var rope = ByteRope()
            var expected: [UInt8] = []
            for number in 0..<300 {
                // More than the kernel takes at once, so that writes end within pieces.
                let piece = [UInt8](repeating: UInt8(number % 256), count: 1 + number * 97)
                rope.append(ByteSlice(piece))
                rope.append(ByteSlice())
                expected += piece
                guard number % 100 == 0 else { continue }
                rope.append(ByteRope.FileRegion(file: file, offset: number, count: 250_000))
                expected += stored[number..<number + 250_000]
            }
            let sent = rope
            async let received = Self.read(expected.count, from: far)
            try await near.write(sent)
            #expect(try await received == expected)
            try await near.write(ByteRope())
            for end in [near, far] { end.close() }
            listener.close()
        }
    }

    @Test func `what is written at once is what the kernel takes, and the rest can follow`()
        async throws
    {
        try await Machine.on {
            let (near, far, listener) = try await Self.pair()
            let message = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 / 251 ^ $0) }
            let bytes = ByteSlice(message)
            let written = near.writeNow(bytes)
            #expect(written > 0 && written < bytes.count, "\(written)")
            #expect(near.writeNow(bytes) == 0)
            async let received = Self.read(message.count, from: far)
            try await near.write(ByteRope(bytes.dropFirst(written)))
            #expect(try await received == message)
            near.close()
            #expect(near.writeNow(bytes) == 0)
            far.close()
            listener.close()
        }
    }

    @Test func `a file shorter than was promised ends the connection, not the broker`() async throws
    {
        let path = "/var/tmp/chronik-short-\(getpid())"
        let file = try Machine.platform.files.open(path, .replace)
        defer { try? Machine.platform.files.remove(path) }
        try [UInt8](repeating: 1, count: 100).withUnsafeBytes { try file.write($0, at: 0) }
        try await Machine.on {
            let (near, far, listener) = try await Self.pair()
            var rope = ByteRope()
            rope.append(ByteRope.FileRegion(file: file, offset: 50, count: 100))
            let sent = rope
            #expect(await Self.error { try await near.write(sent) } == .closed)
            for end in [near, far] { end.close() }
            listener.close()
        }
    }

    @Test func `a peer that has ended its own side still gets its answer`() async throws {
        try await Machine.on {
            let (socket, plain) = try await Self.plainPair()
            #expect(send(plain, "question", 8, 0) == 8)
            #expect(shutdown(plain, Int32(SHUT_WR)) == 0)
            #expect(try await Self.read(100, from: socket) == Array("question".utf8))
            #expect(try await Self.read(100, from: socket).isEmpty)
            try await socket.write(ByteRope(ByteSlice("answer")))
            socket.close()
            var buffer = [UInt8](repeating: 0, count: 100)
            #expect(recv(plain, &buffer, 100, 0) == 6)
            #expect(recv(plain, &buffer, 100, 0) == 0)
            Glibc.close(plain)
        }
    }

    @Test func `a writer waits for a reader that is slow, and the loop goes on`() async throws {
        try await Machine.on {
            let (near, far, listener) = try await Self.pair()
            let block = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let slice = ByteSlice(block)
            let isDone = Box(false)
            let writing = Task(executorPreference: Machine.loop) {
                for _ in 0..<32 { try await near.write(ByteRope(slice)) }
                isDone.value = true
            }
            // Nobody reads: more turns than the writer would need do not help it.
            for _ in 0..<500 {
                await withUnsafeContinuation { (turn: UnsafeContinuation<Void, Never>) in
                    Machine.loop.execute { turn.resume() }
                }
            }
            #expect(!isDone.value)
            for _ in 0..<32 { #expect(try await Self.read(1 << 20, from: far) == block) }
            try await writing.value
            #expect(isDone.value)
            for end in [near, far] { end.close() }
            listener.close()
        }
    }

    @Test func `closing wakes whoever waits, with an error`() async throws {
        try await Machine.on {
            let (near, far, listener) = try await Self.pair()
            let reading = Task(executorPreference: Machine.loop) {
                await Self.error { _ = try await Self.read(1, from: near) }
            }
            let writing = Task(executorPreference: Machine.loop) {
                let slice = ByteSlice([UInt8](repeating: 0, count: 64 << 20))
                return await Self.error { try await near.write(ByteRope(slice)) }
            }
            let accepting = Task(executorPreference: Machine.loop) {
                await Self.error { _ = try await listener.accept() }
            }
            await Machine.loop.sleep(nanoseconds: 0)
            near.close()
            near.close()
            listener.close()
            #expect(await reading.value == .closed)
            #expect(await writing.value == .closed)
            #expect(await accepting.value == .closed)
            #expect(await Self.error { _ = try await Self.read(1, from: near) } == .closed)
            #expect(await Self.error { try await near.write(ByteRope(ByteSlice("x"))) } == .closed)
            far.close()
        }
    }

    @Test func `a reset that comes with the last bytes is noticed after them`() async throws {
        try await Machine.on {
            let (socket, plain) = try await Self.plainPair()
            let reading = Task(executorPreference: Machine.loop) {
                await Self.error { _ = try await Self.read(100, from: socket) }
            }
            // The reader waits; bytes and reset reach it in one look at the socket.
            await Machine.loop.sleep(nanoseconds: 0)
            #expect(send(plain, "last", 4, 0) == 4)
            var atOnce = linger(l_onoff: 1, l_linger: 0)
            setsockopt(plain, SOL_SOCKET, SO_LINGER, &atOnce, socklen_t(MemoryLayout<linger>.size))
            Glibc.close(plain)
            #expect(await reading.value == .closed)
            socket.close()
        }
    }

    @Test func `a connection the peer resets is closed`() async throws {
        try await Machine.on {
            let (socket, plain) = try await Self.plainPair()
            var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
            let size = socklen_t(MemoryLayout<Glibc.linger>.size)
            setsockopt(plain, SOL_SOCKET, SO_LINGER, &linger, size)
            Glibc.close(plain)
            #expect(await Self.error { _ = try await Self.read(1, from: socket) } == .closed)
            let slice = ByteSlice([UInt8](repeating: 0, count: 1 << 20))
            #expect(await Self.error { try await socket.write(ByteRope(slice)) } == .closed)
            socket.close()
        }
    }

    @Test func `a socket nobody holds any more is closed`() async throws {
        try await Machine.on {
            let listener = try Machine.loop.listen(Self.localhost)
            var near: Socket? = try await Machine.loop.connect(listener.address)
            let far = try Machine.loop.adopt(try await listener.accept())
            #expect(near?.peer != nil)
            near = nil
            #expect(try await Self.read(1, from: far).isEmpty)
            far.close()
            listener.close()
        }
    }

    @Test func `nobody listens, and somebody else listens`() async throws {
        try await Machine.on {
            let listener = try Machine.loop.listen(Self.localhost)
            let address = listener.address
            let taken = await Self.error { _ = try Machine.loop.listen(address) }
            guard case .cannotListen("\(address)", _)? = taken else {
                Issue.record("\(String(describing: taken))")
                return
            }
            listener.close()
            let refused = await Self.error { _ = try await Machine.loop.connect(address) }
            guard case .refused? = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            let nowhere = SocketAddress(host: "no.such.host.invalid", port: 1)
            let unknown = await Self.error { _ = try await Machine.loop.connect(nowhere) }
            guard case .refused? = unknown else {
                Issue.record("\(String(describing: unknown))")
                return
            }
        }
    }

    @Test(
        arguments: [
            ("localhost:9092", "localhost", 9092), (":9092", "0.0.0.0", 9092),
            ("[::1]:65535", "::1", 65_535), ("1.2.3.4:0", "1.2.3.4", 0),
        ] as [(String, String, UInt16)]
    )
    func `addresses are read`(_ text: String, _ host: String, _ port: UInt16) {
        #expect(SocketAddress(text) == SocketAddress(host: host, port: port))
    }

    @Test(arguments: ["", "localhost", "localhost:", "localhost:65536", "::1:9092", "h:-1", "h:9x"])
    func `what is no address is refused`(_ text: String) {
        #expect(SocketAddress(text) == nil)
    }

    @Test func `addresses are written as they are read`() {
        for text in ["localhost:9092", "[::1]:80"] {
            #expect(SocketAddress(text).map { "\($0)" } == text)
        }
    }
}
