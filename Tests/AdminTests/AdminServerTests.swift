import Admin
import Bytes
import Platform
import Synchronization
import Testing

@testable import AdminHTTP

@Suite(.serialized, .timeLimit(.minutes(10))) struct `The admin server` {
    private static let platform = RealPlatform(loopCount: 2)
    private let view = ScriptedView()

    private func start(_ limits: AdminServer.Limits = .init()) throws -> AdminServer {
        let routes = AdminRoutes(token: nil)
        routes.publish(view)
        return try AdminServer.start(
            routes,
            on: SocketAddress(host: "127.0.0.1", port: 0),
            loop: Self.platform.loops[0],
            platform: Self.platform,
            limits: limits
        )
    }

    /// Sends `text` and returns all that comes back until the server closes.
    private func exchange(_ text: String, with server: AdminServer) async throws -> String {
        let (address, loop) = (server.address, Self.platform.loops[1])
        return try await Task(executorPreference: loop) {
            let socket = try await loop.connect(address)
            defer { socket.close() }
            var rope = ByteRope()
            rope.append(ByteSlice(text))
            try await socket.write(rope)
            var bytes: [UInt8] = []
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)
            defer { buffer.deallocate() }
            while true {
                let count = (try? await socket.read(into: buffer)) ?? 0
                if count == 0 { return String(decoding: bytes, as: UTF8.self) }
                bytes += buffer[..<count]
            }
        }.value
    }

    private func get(
        _ path: String,
        method: String = "GET",
        _ headers: String = "",
        with server: AdminServer
    ) async throws -> String {
        try await exchange(
            "\(method) \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\(headers)\r\n",
            with: server
        )
    }

    @Test func `requests are answered over one connection in their order`() async throws {
        let server = try start()
        defer { server.stop() }
        let one = "GET /admin/cluster/members HTTP/1.1\r\nHost: a\r\n\r\n"
        let last = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        let answer = try await exchange(one + one + last, with: server)
        #expect(answer.split(separator: "HTTP/1.1 200 OK").count == 3)
        #expect(answer.split(separator: "\"cluster_id\"").count == 3)
        #expect(answer.hasSuffix("\r\nlive\n"))
    }

    @Test func `escapes of a path are undone, and its query is passed over`() async throws {
        let server = try start()
        defer { server.stop() }
        let path = "/admin/cluster/transfer-leader/my%2Dtopic/0/1?x=y"
        let answer = try await get(path, method: "POST", with: server)
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(view.asked == "my-topic 0 1")
    }

    @Test func `an answer that does not come in time is a 503, and a late one is dropped`()
        async throws
    {
        var limits = AdminServer.Limits()
        limits.deadlineNanoseconds = .milliseconds(50)
        let server = try start(limits)
        defer { server.stop() }
        view.stall()
        let answer = try await get("/admin/cluster/members", with: server)
        #expect(answer.hasPrefix("HTTP/1.1 503 "))
        #expect(answer.contains("the node did not answer in time"))
        view.release()
        #expect(try await get("/admin/cluster/members", with: server).contains(" 200 OK"))
    }

    @Test func `a loop that is stuck keeps nobody waiting, and probes of life do not need it`()
        async throws
    {
        var limits = AdminServer.Limits()
        limits.deadlineNanoseconds = .milliseconds(50)
        let server = try start(limits)
        defer { server.stop() }
        let stuck = Switch()
        let begun = Switch()
        Self.platform.loops[0].execute {
            begun.turn()
            while !stuck.isTurned {}
        }
        while !begun.isTurned { await Task.yield() }
        let answer = try await get("/admin/cluster/health", with: server)
        let alive = try await get("/livez", with: server)
        stuck.turn()
        #expect(answer.hasPrefix("HTTP/1.1 503 ") && alive.contains(" 200 OK"))
        #expect(try await get("/admin/cluster/health", with: server).contains(" 200 OK"))
    }

    @Test func `a stop ends those who wait, and what answers them later is dropped`() async throws {
        let server = try start()
        view.stall()
        async let answer = get("/admin/cluster/members", with: server)
        while !server.isAnyoneWaiting { await Task.yield() }
        server.stop()
        #expect(try await !answer.contains(" 200 "))
        view.release()
    }

    @Test func `a body is passed over when small, and refused when large`() async throws {
        let server = try start()
        defer { server.stop() }
        let small = try await exchange(
            "POST /admin/cluster/transfer-leader/t/0/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                + "Content-Length: 5\r\n\r\nhello",
            with: server
        )
        #expect(small.hasPrefix("HTTP/1.1 200 "))
        let large = try await get(
            "/admin/cluster/transfer-leader/t/0/1",
            method: "POST",
            "Content-Length: 1000000\r\n",
            with: server
        )
        #expect(large.hasPrefix("HTTP/1.1 413 "))
        let chunks = String(
            repeating: "1000\r\n" + String(repeating: "x", count: 4096) + "\r\n",
            count: 4
        )
        let endless = try await get(
            "/admin/cluster/transfer-leader/t/0/2",
            method: "POST",
            "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n",
            with: server
        )
        #expect(!endless.contains(" 200 ") && view.asked == "t 0 1")
    }

    @Test func `a head too long for a connection is refused`() async throws {
        let server = try start()
        defer { server.stop() }
        let long = "X: " + String(repeating: "x", count: 40_000) + "\r\n"
        let answer = try await get("/livez", long, with: server)
        #expect(!answer.contains(" 200 "))
        #expect(try await get("/livez", with: server).contains(" 200 "))
    }

    @Test(arguments: ["\0\0\0\u{1}", "GET\r\n\r\n", "\r\n\r\n\r\n", "A B C D\r\n\r\n"])
    func `what is no HTTP is refused, and others are served`(_ text: String) async throws {
        var limits = AdminServer.Limits()
        limits.idleSeconds = 1
        let server = try start(limits)
        defer { server.stop() }
        #expect(try await !exchange(text, with: server).contains(" 200 "))
        #expect(try await get("/livez", with: server).contains(" 200 "))
    }

    @Test func `an address that is taken says so`() throws {
        let server = try start()
        defer { server.stop() }
        let problem = #expect(throws: AdminListenProblem.self) {
            _ = try AdminServer.start(
                AdminRoutes(token: nil),
                on: server.address,
                loop: Self.platform.loops[0],
                platform: Self.platform
            )
        }
        #expect(problem.map { "\($0)" } == "\(server.address): Address already in use")
    }

    @Test func `a host that does not exist says so`() {
        let problem = #expect(throws: AdminListenProblem.self) {
            _ = try AdminServer.start(
                AdminRoutes(token: nil),
                on: SocketAddress(host: "no.such.host.invalid", port: 0),
                loop: Self.platform.loops[0],
                platform: Self.platform
            )
        }
        #expect(problem?.address.host == "no.such.host.invalid")
    }
}

/// Something one thread does once and others wait for.
private final class Switch: Sendable {
    private let state = Atomic(false)

    var isTurned: Bool { state.load(ordering: .sequentiallyConsistent) }

    func turn() { state.store(true, ordering: .sequentiallyConsistent) }
}
