internal import Platform

/// A listener of a simulated machine.
final class SimulatedListener: Listener, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    let life: MachineLife
    private let bound: SocketAddress
    private let loop: SimulatedEventLoop
    private let onClose: () -> Void
    private var waiting: [ConnectionEnd] = []
    private var acceptor: UnsafeContinuation<Void, Never>?
    private var isClosed = false

    init(
        _ address: SocketAddress,
        life: MachineLife,
        loop: SimulatedEventLoop,
        onClose: @escaping () -> Void
    ) {
        bound = address
        self.life = life
        self.loop = loop
        self.onClose = onClose
        super.init()
    }

    override var address: SocketAddress { bound }

    func offer(_ end: ConnectionEnd) {
        waiting.append(end)
        wake()
    }

    private func wake() {
        guard let acceptor else { return }
        self.acceptor = nil
        acceptor.resume()
    }

    override func accept() async throws(NetworkError) -> AcceptedConnection {
        while !isClosed {
            if !waiting.isEmpty {
                return AcceptedConnection(descriptor: -1, endpoint: waiting.removeFirst())
            }
            precondition(loop.isCurrent, "an accept outside the listener's loop")
            await withUnsafeContinuation {
                if !waiting.isEmpty || isClosed { $0.resume() } else { acceptor = $0 }
            }
        }
        throw .closed
    }

    override func close() {
        guard !isClosed else { return }
        isClosed = true
        onClose()
        for end in waiting { end.close() }
        waiting = []
        wake()
    }
}
