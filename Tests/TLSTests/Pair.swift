import Bytes
import Platform
import Raft
import Testing

@testable import TLS

/// The machine the tests run on: its loops live as long as the process.
enum Machine {
    static let platform = RealPlatform(loopCount: 1)
    static let worker = platform.makeWorker(name: "tls")
    static var loop: EventLoop { platform.loops[0] }

    /// Runs `body` as a task of the loop.
    static func on<T: Sendable>(
        _ body: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        try await Task(executorPreference: loop) { try await body() }.value
    }

    static func stage(
        _ files: CredentialFiles,
        hosts: [UInt64: String] = [1: "127.0.0.1", 2: "127.0.0.1"]
    ) throws -> NodeTLS {
        try NodeTLS(
            files,
            hosts: Dictionary(uniqueKeysWithValues: hosts.map { (ReplicaID($0.key), $0.value) }),
            fileSystem: platform.files,
            worker: worker
        )
    }
}

/// Both ends of one connection, node 1 having called node 2, as far as each came.
struct Pair: Sendable {
    let caller: Result<Socket, any Error>
    private let answering: Task<Result<Socket, any Error>, Never>
    let plainCaller: Socket
    let plainCalled: Socket

    /// Both ends over loopback, on the loop; `wrap` may come between each and its stage.
    static func connect(
        _ one: NodeTLS,
        _ two: NodeTLS,
        wrap: @Sendable (Socket) -> Socket = { $0 }
    ) async throws -> Pair {
        let (plainCaller, plainCalled) = try await plain()
        let called = Task.immediate(executorPreference: Machine.loop) {
            let end = await Result(catching: { try await two.accepted(plainCalled) })
            if case .failure = end { plainCalled.close() }
            return end
        }
        let wrapped = wrap(plainCaller)
        let caller = await Result(catching: { try await one.dialed(wrapped, to: ReplicaID(2)) })
        if case .failure = caller { wrapped.close() }
        return Pair(
            caller: caller,
            answering: called,
            plainCaller: plainCaller,
            plainCalled: plainCalled
        )
    }

    static func plain() async throws -> (Socket, Socket) {
        let listener = try Machine.loop.listen(SocketAddress(host: "127.0.0.1", port: 0))
        defer { listener.close() }
        let caller = try await Machine.loop.connect(listener.address)
        let called = try Machine.loop.adopt(try await listener.accept())
        return (caller, called)
    }

    var called: Result<Socket, any Error> { get async { await answering.value } }

    /// Why the called end refuses the caller, which hears of it and leaves.
    var refusal: TLSError? {
        get async {
            let answering = answering
            // Who is let in after all is not kept waiting, and the test not either.
            Task.immediate(executorPreference: Machine.loop) {
                if case .success(let called) = await answering.value { called.close() }
            }
            if case .success(let caller) = caller { _ = try? await caller.hear(1) }
            plainCaller.close()
            return await called.failure
        }
    }

    func close() {
        _ = try? caller.get().close()
        plainCaller.close()
        plainCalled.close()
    }
}

extension Result where Failure == any Error {
    init(catching body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }

    var failure: TLSError? {
        if case .failure(let error) = self { return error as? TLSError }
        return nil
    }
}

extension Socket {
    /// Reads until `count` bytes are there or the peer has closed.
    func read(_ count: Int) async throws -> [UInt8] {
        let storage = ByteStorage(capacity: max(1, count))
        var done = 0
        while done < count {
            let room = UnsafeMutableRawBufferPointer(
                start: storage.start + done,
                count: count - done
            )
            let n = try await read(into: room)
            if n == 0 { break }
            done += n
        }
        return storage.slice(0..<done).array
    }

    func say(_ text: String) async throws { try await write(ByteRope(ByteSlice(text))) }

    func hear(_ count: Int) async throws -> String {
        String(decoding: try await read(count), as: UTF8.self)
    }
}
