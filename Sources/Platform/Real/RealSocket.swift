import Bytes
import CLibUV
import CLinux
import Glibc

/// Readiness of one descriptor, told by its loop.
final class DescriptorWatch {
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private var events: Int32 = 0
    private var onReady: ((_ readable: Bool, _ writable: Bool) -> Void)?

    init(_ descriptor: Int32, on loop: RealEventLoop) {
        let made = uv_poll_init(loop.uv, handle, descriptor)
        precondition(made == 0, "descriptor \(descriptor) cannot be watched: \(made)")
    }

    func start(_ onReady: @escaping (_ readable: Bool, _ writable: Bool) -> Void) {
        self.onReady = onReady
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    }

    /// Asks to be told when the descriptor is ready for one direction more; level-triggered.
    func add(readable: Bool = false, writable: Bool = false) {
        watch(events | Self.mask(readable, writable))
    }

    /// Gives up the directions that are not to be kept.
    func keep(readable: Bool, writable: Bool) { watch(events & Self.mask(readable, writable)) }

    private static func mask(_ readable: Bool, _ writable: Bool) -> Int32 {
        (readable ? Int32(UV_READABLE.rawValue) : 0)
            | (writable ? Int32(UV_WRITABLE.rawValue) : 0)
    }

    private func watch(_ wanted: Int32) {
        guard wanted != events else { return }
        events = wanted
        if wanted == 0 {
            uv_poll_stop(handle)
            return
        }
        uv_poll_start(handle, wanted) { handle, status, ready in
            guard let data = handle?.pointee.data else { return }
            let watch = Unmanaged<DescriptorWatch>.fromOpaque(data).takeUnretainedValue()
            // An error makes both directions ready: the next call reports it. libuv has stopped
            // the handle, so whoever waits again has to start it again.
            if status < 0 { watch.events = 0 }
            watch.onReady?(
                status < 0 || ready & Int32(UV_READABLE.rawValue) != 0,
                status < 0 || ready & Int32(UV_WRITABLE.rawValue) != 0
            )
        }
    }

    func stop() {
        onReady = nil
        handle.pointee.data = nil
        uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) {
            handle in
            UnsafeMutableRawPointer(handle)?.deallocate()
        }
    }
}

/// A connected TCP socket on a ``RealEventLoop``.
final class RealSocket: Socket, @unchecked Sendable {
    // Unchecked: confined to `loop`.
    private let loop: RealEventLoop
    private let descriptor: Int32
    private let watch: DescriptorWatch
    private var canRead = true
    private var canWrite = true
    private var isClosed = false
    private var reader: UnsafeContinuation<Void, Never>?
    private var writer: UnsafeContinuation<Void, Never>?

    init(descriptor: Int32, on loop: RealEventLoop) {
        precondition(loop.isCurrent, "a socket made outside its loop")
        self.loop = loop
        self.descriptor = descriptor
        watch = DescriptorWatch(descriptor, on: loop)
        super.init()
        var on: Int32 = 1
        setsockopt(
            descriptor,
            Int32(IPPROTO_TCP),
            TCP_NODELAY,
            &on,
            socklen_t(MemoryLayout<Int32>.size)
        )
        if SocketNames.isPeerLocal(of: descriptor) { Self.dropPacing(of: descriptor) }
        watch.start { [unowned self] readable, writable in
            becameReady(readable: readable, writable: writable)
        }
    }

    /// Sends without BBR's timers, which take a tenth of the time of a small answer.
    ///
    /// Nothing congests the loopback device. Reno is in every kernel; where it is not allowed,
    /// nothing changes.
    private static func dropPacing(of descriptor: Int32) {
        let name = StaticString("reno")
        setsockopt(
            descriptor,
            Int32(IPPROTO_TCP),
            TCP_CONGESTION,
            name.utf8Start,
            socklen_t(name.utf8CodeUnitCount)
        )
    }

    deinit {
        if !isClosed {
            // The last owner let go without closing: on whatever thread that was, the loop cleans up.
            let watch = Transferred(watch)
            let descriptor = descriptor
            loop.execute {
                watch.value.stop()
                Glibc.close(descriptor)
            }
        }
    }

    override var peer: String { SocketNames.peer(of: descriptor) }

    /// A direction stays watched when its waiter is woken, for it will soon wait again; it is given
    /// up when the kernel tells of it a second time and nobody has come.
    private func becameReady(readable: Bool, writable: Bool) {
        var keepsReadable = true
        var keepsWritable = true
        if readable {
            keepsReadable = !canRead || reader != nil
            canRead = true
            resume(&reader)
        }
        if writable {
            keepsWritable = !canWrite || writer != nil
            canWrite = true
            resume(&writer)
        }
        if !isClosed { watch.keep(readable: keepsReadable, writable: keepsWritable) }
    }

    private func resume(_ waiter: inout UnsafeContinuation<Void, Never>?) {
        guard let waiting = waiter else { return }
        waiter = nil
        waiting.resume()
    }

    override func read(into buffer: UnsafeMutableRawBufferPointer) async throws(NetworkError) -> Int
    {
        try await receive(into: buffer, flags: 0)
    }

    override func peek() async throws(NetworkError) -> UInt8? {
        // Outlives the wait, as memory of this frame would not have to.
        let byte = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
        defer { byte.deallocate() }
        let count = try await receive(into: byte, flags: Int32(MSG_PEEK))
        return count == 0 ? nil : byte[0]
    }

    private func receive(
        into buffer: UnsafeMutableRawBufferPointer,
        flags: Int32
    ) async throws(NetworkError) -> Int {
        precondition(loop.isCurrent, "a read outside the socket's loop")
        while !isClosed {
            if canRead {
                let n = recv(descriptor, buffer.baseAddress, buffer.count, flags)
                if n > 0 {
                    if n < buffer.count { canRead = false }
                    return n
                }
                if n == 0 { return 0 }
                switch errno {
                case EAGAIN: canRead = false
                case EINTR: continue
                case ECONNRESET, EPIPE, ETIMEDOUT: throw .closed
                default: throw .other(errno: errno)
                }
            }
            precondition(reader == nil, "two readers of one socket")
            await withUnsafeContinuation {
                reader = $0
                watch.add(readable: true)
            }
        }
        throw .closed
    }

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        precondition(loop.isCurrent, "a write outside the socket's loop")
        var cursor = RopeCursor(rope)
        while let step = cursor.next {
            guard !isClosed else { throw .closed }
            if canWrite {
                let n = send(step)
                if n > 0 {
                    cursor.consume(n)
                    continue
                }
                if n == 0 { throw .closed }
                switch errno {
                case EAGAIN: canWrite = false
                case EINTR: continue
                case ECONNRESET, EPIPE, ETIMEDOUT: throw .closed
                default: throw .other(errno: errno)
                }
            }
            precondition(writer == nil, "two writers of one socket")
            await withUnsafeContinuation {
                writer = $0
                watch.add(writable: true)
            }
        }
    }

    override func writeNow(_ bytes: ByteSlice) -> Int {
        precondition(loop.isCurrent, "a write outside the socket's loop")
        precondition(writer == nil, "two writers of one socket")
        guard canWrite, !isClosed else { return 0 }
        let n = send(.slice(bytes))
        if n < 0 && errno == EAGAIN { canWrite = false }
        return max(n, 0)
    }

    private func send(_ step: RopeCursor.Step) -> Int {
        switch step {
        case .slice(let bytes):
            return Glibc.send(descriptor, bytes.start, bytes.count, Int32(MSG_NOSIGNAL))
        case .slices(let vectors):
            return vectors.withUnsafeBufferPointer {
                writev(descriptor, $0.baseAddress, Int32($0.count))
            }
        case .file(let file, let offset, let count):
            guard let source = file.descriptor else { return 0 }
            var position = off_t(offset)
            return sendfile(descriptor, source, &position, count)
        }
    }

    override func close() {
        precondition(loop.isCurrent, "a close outside the socket's loop")
        guard !isClosed else { return }
        isClosed = true
        watch.stop()
        Glibc.close(descriptor)
        resume(&reader)
        resume(&writer)
    }

    override func detach() -> AcceptedConnection {
        precondition(loop.isCurrent, "a socket given away outside its loop")
        precondition(!isClosed && reader == nil && writer == nil, "a socket in use given away")
        isClosed = true
        watch.stop()
        return AcceptedConnection(descriptor: descriptor)
    }

    static func connect(
        to address: SocketAddress,
        on loop: RealEventLoop
    ) async throws(NetworkError)
        -> Socket
    {
        let endpoint = try SocketNames.resolve(address)
        let descriptor = socket(
            Int32(endpoint.family),
            Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue),
            0
        )
        guard descriptor >= 0 else { throw SocketNames.descriptorFailure() }
        let started = endpoint.withAddress { Glibc.connect(descriptor, $0, $1) }
        guard started == 0 || errno == EINPROGRESS else {
            let reason = String(cString: strerror(errno))
            Glibc.close(descriptor)
            throw .refused(address: "\(address)", reason: reason)
        }
        let socket = RealSocket(descriptor: descriptor, on: loop)
        socket.canWrite = false
        socket.canRead = false
        await withUnsafeContinuation {
            socket.writer = $0
            socket.watch.add(writable: true)
        }
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
        guard code == 0 else {
            socket.close()
            throw .refused(address: "\(address)", reason: String(cString: strerror(code)))
        }
        if SocketNames.isPeerLocal(of: descriptor) { dropPacing(of: descriptor) }
        return socket
    }
}

/// Moves a loop-confined value into a closure that will run on that loop.
private struct Transferred<T>: @unchecked Sendable {
    // Unchecked: only unwrapped on the loop the value belongs to.
    let value: T
    init(_ value: T) { self.value = value }
}

/// Where a partly written rope goes on.
private struct RopeCursor {
    enum Step {
        case slice(ByteSlice)
        case slices([iovec])
        case file(File, offset: Int, count: Int)
    }

    private static let maxVectors = 64

    private let pieces: ByteRope.Pieces
    private var index = 0
    /// Bytes of `pieces[index]` already written.
    private var done = 0

    init(_ rope: ByteRope) { pieces = rope.pieces }

    var next: Step? {
        guard index < pieces.count else { return nil }
        if case .file(let region) = pieces[index] {
            guard let file = region.file as? File else {
                preconditionFailure("a file piece that is no File")
            }
            return .file(file, offset: region.offset + done, count: region.count - done)
        }
        if index == pieces.count - 1, case .bytes(let slice) = pieces[index] {
            return .slice(slice.dropFirst(done))
        }
        var vectors: [iovec] = []
        vectors.reserveCapacity(min(pieces.count - index, Self.maxVectors))
        var skip = done
        for piece in pieces[index...] {
            guard case .bytes(let slice) = piece, vectors.count < Self.maxVectors else { break }
            let start = UnsafeMutableRawPointer(mutating: slice.start)
            vectors.append(
                iovec(iov_base: start.map { $0 + skip }, iov_len: slice.count - skip)
            )
            skip = 0
        }
        return .slices(vectors)
    }

    mutating func consume(_ n: Int) {
        var rest = n
        while rest > 0 {
            let count =
                switch pieces[index] {
                case .bytes(let slice): slice.count
                case .file(let region): region.count
                }
            guard rest >= count - done else {
                done += rest
                return
            }
            rest -= count - done
            done = 0
            index += 1
        }
    }
}
