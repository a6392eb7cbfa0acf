import CGRPC
import Glibc
import Synchronization

/// What to do when gRPC reports that a batch is done; whether it succeeded is the argument.
///
/// Lives on as gRPC's tag from when the batch is started until it is reported.
final class Completion {
    private let body: @Sendable (Bool) -> Void

    private init(_ body: @escaping @Sendable (Bool) -> Void) { self.body = body }

    /// Starts a batch under a tag of its own.
    ///
    /// A precondition: the batch is one that gRPC takes; only a mistake of ours is refused.
    static func expect(
        _ body: @escaping @Sendable (Bool) -> Void,
        from start: (UnsafeMutableRawPointer) -> grpc_call_error
    ) {
        let tag = makeTag(body)
        let error = start(tag)
        precondition(error == GRPC_CALL_OK, "gRPC refused a batch: error \(error.rawValue)")
    }

    static func makeTag(_ body: @escaping @Sendable (Bool) -> Void) -> UnsafeMutableRawPointer {
        Unmanaged.passRetained(Completion(body)).toOpaque()
    }

    static func report(_ tag: UnsafeMutableRawPointer?, _ succeeded: Bool) {
        guard let tag else { return }
        Unmanaged<Completion>.fromOpaque(tag).takeRetainedValue().body(succeeded)
    }
}

/// A completion queue, and the thread on which its batches are reported.
///
/// The thread also does gRPC's own polling and reading. What it calls must be short and must not
/// touch what belongs to an event loop.
final class CompletionThread: @unchecked Sendable {
    // Unchecked: the queue is gRPC's and safe to use from any thread.
    let queue: OpaquePointer
    private let thread = Mutex<pthread_t?>(nil)

    init(name: StaticString) {
        _ = GRPCLibrary.initialized
        guard let queue = grpc_completion_queue_create_for_next(nil) else {
            preconditionFailure("gRPC made no completion queue")
        }
        self.queue = queue
        var handle = pthread_t()
        let context = ThreadContext(queue: queue, name: name)
        let started = pthread_create(
            &handle,
            nil,
            { context in
                guard let context else { return nil }
                Unmanaged<ThreadContext>.fromOpaque(context).takeRetainedValue().run()
                return nil
            },
            Unmanaged.passRetained(context).toOpaque()
        )
        precondition(started == 0, "no thread for gRPC: error \(started)")
        thread.withLock { $0 = handle }
    }

    /// Ends the thread once everything still under way was reported; waits for that.
    func stop() {
        guard let handle = thread.withLock({ $0.take() }) else { return }
        grpc_completion_queue_shutdown(queue)
        pthread_join(handle, nil)
        grpc_completion_queue_destroy(queue)
    }
}

private final class ThreadContext {
    let queue: OpaquePointer
    let name: StaticString

    init(queue: OpaquePointer, name: StaticString) {
        self.queue = queue
        self.name = name
    }

    func run() {
        name.withUTF8Buffer { _ in
            cgrpc_name_thread(UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self))
        }
        while true {
            let event = cgrpc_next(queue)
            if event.type == GRPC_QUEUE_SHUTDOWN { return }
            Completion.report(event.tag, event.success != 0)
        }
    }
}
