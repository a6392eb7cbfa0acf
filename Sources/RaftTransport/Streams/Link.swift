internal import Platform

/// A connection of an outgoing stream, from the handshake to its end.
///
/// The receiver says now and then how many bytes have arrived; a sender that has something under
/// way and hears of no progress gives the connection up, for the kernel alone would keep it for a
/// quarter of an hour.
final class Link {
    let socket: Socket
    let reader: FrameReader
    private(set) var isOver = false
    /// Bytes given to the socket, whether or not it has taken them yet.
    private var sent: UInt64 = 0
    private var receipted: UInt64 = 0
    /// When nothing was under way, or something arrived.
    private var movedAt: Int64
    private var sentAtLastLook: UInt64 = 0

    init(_ socket: Socket, _ reader: FrameReader, now: Int64) {
        self.socket = socket
        self.reader = reader
        movedAt = now
    }

    func willSend(_ count: Int, now: Int64) {
        if sent == receipted { movedAt = now }
        sent += UInt64(count)
    }

    /// False for a receipt of what was never sent, or one that takes another back.
    func receive(receipt: UInt64, now: Int64) -> Bool {
        guard receipt >= receipted && receipt <= sent else { return false }
        if receipt > receipted { movedAt = now }
        receipted = receipt
        return true
    }

    func isStalled(now: Int64, after limit: Int64) -> Bool {
        sent > receipted && now - movedAt >= limit
    }

    /// Whether nothing was sent since the last look.
    func looksIdle() -> Bool {
        defer { sentAtLastLook = sent }
        return sent == sentAtLastLook
    }

    func end() {
        guard !isOver else { return }
        isOver = true
        socket.close()
    }
}

/// A connection that is being made, and that nobody waits for any longer once its time is up.
final class DialAttempt {
    private var outcome: Result<Socket, NetworkError>?
    private var waiter: UnsafeContinuation<Void, Never>?

    /// False when it was settled before.
    func settle(_ result: Result<Socket, NetworkError>) -> Bool {
        guard outcome == nil else { return false }
        outcome = result
        waiter?.resume()
        waiter = nil
        return true
    }

    var value: Result<Socket, NetworkError> {
        get async {
            while true {
                if let outcome { return outcome }
                await withUnsafeContinuation {
                    if outcome == nil { waiter = $0 } else { $0.resume() }
                }
            }
        }
    }
}
