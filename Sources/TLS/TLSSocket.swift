internal import Bytes
internal import COpenSSL
internal import Platform

/// A socket whose bytes are encrypted on the one behind it.
///
/// Memory a connection takes: one block of arriving and two of leaving ciphertext, and what
/// OpenSSL holds of a record each way. Nothing is decrypted before it is read, nothing read before
/// it is asked for.
///
/// | call | suspends for |
/// |---|---|
/// | ``read(into:)``, ``peek()`` | a whole record |
/// | ``write(_:)`` | the last byte to be taken by the socket behind |
final class TLSSocket: Socket, @unchecked Sendable {
    // Unchecked: confined to the loop of the socket behind it.
    enum Side { case client, server }

    private static let arrivingBytes = 64 << 10
    private static let leavingBytes = 128 << 10
    /// What the longest record adds to its content, with something to spare.
    private static let recordOverhead = 64
    private static let maxRecordBytes = 16 << 10
    /// What a refused peer may still send while it is told why.
    private static let refusedBytes = 64 << 10

    private struct Method: @unchecked Sendable {
        // Unchecked: OpenSSL only reads it once it is made.
        let pointer: OpaquePointer?
    }

    private static let method = Method(pointer: chronik_tls_bio_method())

    private let plain: Socket
    let ssl: OpaquePointer
    private let wire: UnsafeMutablePointer<chronik_tls_wire>
    private let arriving = ByteStorage(capacity: TLSSocket.arrivingBytes)
    private var leaving = ByteStorage(capacity: 4 << 10)
    private var spare: ByteStorage?
    private var isFlushing = false
    /// Whoever found a flush under way: a reader that has to answer, or a writer behind it.
    private var flushWaiters: [UnsafeContinuation<Void, Never>] = []
    private var hasSaidEnd = false
    private var isBroken = false
    private var isClosed = false

    init(_ plain: Socket, _ side: Side, _ credentials: Credentials) throws(TLSError) {
        self.plain = plain
        wire = .allocate(capacity: 1)
        wire.initialize(to: chronik_tls_wire())
        ErrorQueue.clear()
        guard let method = Self.method.pointer,
            let ssl = chronik_tls_connection(credentials.context, method, wire)
        else {
            wire.deallocate()
            throw .handshake(reason: ErrorQueue.take().text)
        }
        self.ssl = ssl
        super.init()
        offer(leaving)
        switch side {
        case .client: SSL_set_connect_state(ssl)
        case .server: SSL_set_accept_state(ssl)
        }
    }

    deinit {
        SSL_free(ssl)
        wire.deallocate()
    }

    override var peer: String { plain.peer }

    /// The other side's certificate, which has been verified.
    var certificate: Certificate? { SSL_get1_peer_certificate(ssl).map(Certificate.init(owning:)) }

    // MARK: Handshake

    /// Makes the connection ready for use, or throws; the caller closes it then.
    func handshake() async throws(TLSError) {
        do {
            while true {
                ErrorQueue.clear()
                let code = SSL_do_handshake(ssl)
                let outcome = outcome(code)
                let failure = outcome == .failed ? handshakeFailure() : nil
                try await flush()
                if let failure {
                    if case .untrusted = failure { await hearOut() }
                    throw failure
                }
                switch outcome {
                case .done: return
                case .wantsInput: try await fill()
                case .wantsRoom: continue
                case .ended, .failed: throw TLSError.ended
                }
            }
        } catch let error as TLSError {
            isBroken = true
            throw error
        } catch let error as NetworkError {
            isBroken = true
            throw .network(error)
        } catch {
            preconditionFailure("a handshake threw \(error)")
        }
    }

    private func handshakeFailure() -> TLSError {
        isBroken = true
        if wire.pointee.ended != 0 {
            ErrorQueue.clear()
            return .ended
        }
        let verdict = SSL_get_verify_result(ssl)
        let (code, reason) = ErrorQueue.take()
        if verdict != Int(X509_V_OK) {
            return .untrusted(reason: String(cString: X509_verify_cert_error_string(verdict)))
        }
        let noCertificate = Int32(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        if ERR_GET_REASON(code) == noCertificate { return .noCertificate }
        return .handshake(reason: reason)
    }

    /// Waits for a refused peer to leave: what it has sent meanwhile would otherwise make the
    /// kernel throw away the alert that says why.
    private func hearOut() async {
        var rest = Self.refusedBytes
        while rest > 0, let count = try? await plain.read(into: room), count > 0 { rest -= count }
    }

    // MARK: Reading

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        try await receive(into: buffer, SSL_read_ex)
    }

    override func peek() async throws(NetworkError) -> UInt8? {
        // Outlives the wait, as memory of this frame would not have to.
        let byte = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
        defer { byte.deallocate() }
        return try await receive(into: byte, SSL_peek_ex) == 0 ? nil : byte[0]
    }

    private typealias Take = (
        OpaquePointer?, UnsafeMutableRawPointer?, Int, UnsafeMutablePointer<Int>?
    ) -> Int32

    private func receive(
        into buffer: UnsafeMutableRawBufferPointer,
        _ take: Take
    ) async throws(NetworkError) -> Int {
        var filled = 0
        while !isClosed {
            guard !isBroken else { throw .closed }
            ErrorQueue.clear()
            var count = 0
            let code = take(
                ssl,
                buffer.baseAddress.map { $0 + filled },
                buffer.count - filled,
                &count
            )
            filled += count
            switch outcome(code) {
            case .done:
                if filled == buffer.count { return filled }
            case .wantsInput:
                if filled > 0 { return filled }
                sendWhatIsLeft()
                try await fill()
            case .wantsRoom:
                if filled > 0 { return filled }
                try await flush()
            case .ended:
                return filled
            case .failed:
                if filled > 0 {
                    // Told by the next read.
                    return filled
                }
                throw readFailure()
            }
        }
        throw .closed
    }

    private func readFailure() -> NetworkError {
        isBroken = true
        let reason = ErrorQueue.take().text
        if wire.pointee.ended != 0 { return .closed }
        sendWhatIsLeft()
        return .refused(address: peer, reason: "TLS: \(reason)")
    }

    private var room: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: arriving.start, count: arriving.capacity)
    }

    /// Reads ciphertext; only when all that was read before is used up.
    private func fill() async throws(NetworkError) {
        precondition(
            wire.pointee.in_count == 0,
            "\(wire.pointee.in_count) bytes of ciphertext written over"
        )
        let count = try await plain.read(into: room)
        wire.pointee.in = UnsafePointer(arriving.start.assumingMemoryBound(to: UInt8.self))
        wire.pointee.in_count = count
        if count == 0 { wire.pointee.ended = 1 }
    }

    // MARK: Writing

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        if leaving.capacity < rope.count { grow(for: rope.count) }
        for piece in rope.pieces {
            switch piece {
            case .bytes(let bytes): try await encrypt(bytes)
            case .file(let region): try await encrypt(region)
            }
        }
        try await flush()
    }

    private func encrypt(_ bytes: ByteSlice) async throws(NetworkError) {
        var done = 0
        while done < bytes.count {
            guard !isClosed, !isBroken, !hasSaidEnd else { throw .closed }
            let free = wire.pointee.out_capacity - wire.pointee.out_count
            let count = min(bytes.count - done, Self.maxRecordBytes)
            if free < count + Self.recordOverhead && wire.pointee.out_count > 0 {
                try await flush()
                continue
            }
            ErrorQueue.clear()
            var written = 0
            let code = SSL_write_ex(ssl, bytes.start.map { $0 + done }, count, &written)
            done += written
            switch outcome(code) {
            case .done: continue
            case .wantsRoom: try await flush()
            // Between handshakes a writer waits for nothing.
            case .wantsInput, .ended, .failed: throw readFailure()
            }
        }
    }

    private func encrypt(_ region: ByteRope.FileRegion) async throws(NetworkError) {
        guard let file = region.file as? File else {
            preconditionFailure("a file piece that is no File")
        }
        let block = ByteStorage(capacity: min(region.count, Self.leavingBytes))
        var done = 0
        while done < region.count {
            let wanted = min(region.count - done, block.capacity)
            let space = UnsafeMutableRawBufferPointer(start: block.start, count: wanted)
            let count = (try? file.read(into: space, at: region.offset + done)) ?? 0
            guard count > 0 else { throw .closed }
            try await encrypt(block.slice(0..<count))
            done += count
        }
    }

    /// Takes nothing: what is encrypted cannot be taken back, so all writes are whole ones.
    override func writeNow(_ bytes: ByteSlice) -> Int { 0 }

    /// Lets a large write leave in large pieces.
    private func grow(for count: Int) {
        guard leaving.capacity < Self.leavingBytes, !isFlushing, wire.pointee.out_count == 0 else {
            return
        }
        let records = count / Self.maxRecordBytes + 1
        let wanted = min(count + records * Self.recordOverhead, Self.leavingBytes)
        guard wanted > leaving.capacity else { return }
        // Most connections only ever carry little; one that carries more soon carries much.
        leaving = ByteStorage(capacity: wanted > 16 << 10 ? Self.leavingBytes : wanted)
        spare = nil
        offer(leaving)
    }

    private func offer(_ block: ByteStorage) {
        wire.pointee.out = block.start.assumingMemoryBound(to: UInt8.self)
        wire.pointee.out_count = 0
        wire.pointee.out_capacity = block.capacity
    }

    /// Writes all ciphertext there is.
    ///
    /// A reader flushes too, when what it reads asks for an answer: the second of the two waits for
    /// the first, and finds room then.
    private func flush() async throws(NetworkError) {
        while isFlushing {
            await withUnsafeContinuation { flushWaiters.append($0) }
        }
        guard !isClosed else { throw .closed }
        isFlushing = true
        defer {
            isFlushing = false
            let waiters = flushWaiters
            flushWaiters = []
            for waiter in waiters { waiter.resume() }
        }
        while wire.pointee.out_count > 0 {
            let full = leaving
            let count = wire.pointee.out_count
            let next = spare ?? ByteStorage(capacity: full.capacity)
            (leaving, spare) = (next, nil)
            offer(next)
            try await plain.write(ByteRope(full.slice(0..<count)))
            spare = full
        }
    }

    /// Sends what reading has made, an alert or an answer, unless a writer will.
    private func sendWhatIsLeft() {
        guard !isFlushing, wire.pointee.out_count > 0 else { return }
        let count = wire.pointee.out_count
        let sent = plain.writeNow(leaving.slice(0..<count))
        let rest = count - sent
        if rest > 0 && sent > 0 {
            leaving.start.copyMemory(from: leaving.start + sent, byteCount: rest)
        }
        wire.pointee.out_count = rest
    }

    // MARK: Closing

    /// Tells the peer that nothing more follows; what it sends can still be read.
    func sayEnd() {
        guard !isBroken, !hasSaidEnd, !isFlushing else { return }
        hasSaidEnd = true
        ErrorQueue.clear()
        SSL_shutdown(ssl)
        sendWhatIsLeft()
    }

    override func close() {
        guard !isClosed else { return }
        if SSL_is_init_finished(ssl) == 1 { sayEnd() }
        isClosed = true
        plain.close()
    }

    // MARK: What OpenSSL says

    private enum Outcome { case done, wantsInput, wantsRoom, ended, failed }

    private func outcome(_ code: Int32) -> Outcome {
        if code == 1 { return .done }
        return switch SSL_get_error(ssl, code) {
        case SSL_ERROR_WANT_READ: .wantsInput
        case SSL_ERROR_WANT_WRITE: .wantsRoom
        case SSL_ERROR_ZERO_RETURN: .ended
        default: .failed
        }
    }
}
