import Glibc
import Platform

/// Round trips of a small message between two threads over a TCP connection to this machine.
enum LoopbackProbe {
    private static let rounds = 20_000
    private static let messageBytes = 64

    static func roundTrips(clock: any Clock) throws(BenchError) -> QuantileHistogram {
        let (client, server) = try connectedPair()
        let echo = EchoThread(server)
        defer {
            close(client)
            echo.join()
        }
        var times = QuantileHistogram()
        var message = [UInt8](repeating: 7, count: messageBytes)
        for round in 0..<rounds {
            let before = clock.monotonicNanoseconds
            guard send(client, message, messageBytes, 0) == messageBytes,
                recv(client, &message, messageBytes, Int32(MSG_WAITALL)) == messageBytes
            else { throw .network("the loopback connection ended") }
            // The first ones find caches and branch predictors cold.
            if round >= rounds / 10 { times.record(clock.monotonicNanoseconds - before) }
        }
        return times
    }

    private static func connectedPair() throws(BenchError) -> (Int32, Int32) {
        let stream = Int32(SOCK_STREAM.rawValue)
        let listener = socket(AF_INET, stream, 0)
        let client = socket(AF_INET, stream, 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isConnected = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 1) == 0
                    && getsockname(listener, $0, &size) == 0 && connect(client, $0, size) == 0
            }
        }
        let server = isConnected ? accept(listener, nil, nil) : -1
        guard server >= 0 else {
            let reason = String(cString: strerror(errno))
            close(client)
            throw .network("no loopback connection: \(reason)")
        }
        var on: Int32 = 1
        for descriptor in [client, server] {
            setsockopt(
                descriptor,
                Int32(IPPROTO_TCP),
                TCP_NODELAY,
                &on,
                socklen_t(MemoryLayout<Int32>.size)
            )
        }
        return (client, server)
    }

    /// Sends back what arrives until the other side closes.
    private final class EchoThread: Sendable {
        private let thread: pthread_t

        init(_ descriptor: Int32) {
            let context = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
            context.initialize(to: descriptor)
            var handle = pthread_t()
            let started = pthread_create(
                &handle,
                nil,
                { context in
                    guard let context = context?.assumingMemoryBound(to: Int32.self) else {
                        return nil
                    }
                    LoopbackProbe.echo(context.pointee)
                    context.deallocate()
                    return nil
                },
                context
            )
            precondition(started == 0, "no thread: error \(started)")
            thread = handle
        }

        func join() { pthread_join(thread, nil) }
    }

    private static func echo(_ descriptor: Int32) {
        var message = [UInt8](repeating: 0, count: messageBytes)
        while true {
            let count = recv(descriptor, &message, messageBytes, 0)
            guard count > 0, send(descriptor, message, count, 0) == count else { break }
        }
        close(descriptor)
    }
}
