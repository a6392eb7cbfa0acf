import Admin
import CMicroHTTPD
import Platform
import Synchronization

/// One request from its first line to the last byte of its response.
///
/// | state | means | next |
/// |---|---|---|
/// | reading | the body is passed over | answered, waiting |
/// | waiting | the connection is suspended, a task asks the node | answered, once: by the task, the deadline or the stop |
/// | answered | the response is, or can be, written | – |
final class Exchange: Sendable {
    private enum State {
        case reading
        case waiting(MHDConnection)
        case answered(@Sendable () -> AdminResponse)
    }

    private let state = Mutex(State.reading)
    private let bodyBytes = Atomic(0)

    /// Counts what was read of the body.
    func read(_ bytes: Int) -> Int { bodyBytes.add(bytes, ordering: .relaxed).newValue }

    /// The connection will be resumed once there is an answer.
    func wait(_ connection: MHDConnection) {
        state.withLock { state in
            if case .reading = state { state = .waiting(connection) }
        }
    }

    /// The first answer counts; later ones are dropped.
    ///
    /// The connection is resumed under the lock: after ``settle(_:)`` returned on one thread no
    /// other touches it, so the daemon may be stopped.
    func settle(_ render: @escaping @Sendable () -> AdminResponse) {
        state.withLock { state in
            guard case .waiting(let connection) = state else { return }
            state = .answered(render)
            MHD_resume_connection(connection.pointer)
        }
    }

    /// Writes the answer out, if there is one.
    var response: AdminResponse? {
        let render = state.withLock { state in
            if case .answered(let render) = state { return Optional(render) }
            return nil
        }
        return render?()
    }
}

/// A connection of the daemon's; lives until its request is completed.
struct MHDConnection: @unchecked Sendable {
    // Unchecked: the daemon's thread owns it; others only resume it, which is allowed from any.
    let pointer: OpaquePointer
}
