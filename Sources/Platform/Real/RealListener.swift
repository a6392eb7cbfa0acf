import CLinux
import Glibc

/// A listening TCP socket on a ``RealEventLoop``.
final class RealListener: Listener, @unchecked Sendable {
    // Unchecked: confined to `loop`.
    private static let backlog: Int32 = 1024

    private let loop: RealEventLoop
    private let descriptor: Int32
    private let watch: DescriptorWatch
    private let bound: SocketAddress
    private var isClosed = false
    private var acceptor: UnsafeContinuation<Void, Never>?

    init(_ address: SocketAddress, on loop: RealEventLoop) throws(NetworkError) {
        precondition(loop.isCurrent, "a listener made outside its loop")
        let endpoint = try SocketNames.resolve(address)
        let handle = socket(
            Int32(endpoint.family),
            Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue),
            0
        )
        guard handle >= 0 else { throw SocketNames.descriptorFailure() }
        var on: Int32 = 1
        setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        guard endpoint.withAddress({ bind(handle, $0, $1) }) == 0,
            Glibc.listen(handle, Self.backlog) == 0
        else {
            let reason = String(cString: strerror(errno))
            Glibc.close(handle)
            throw .cannotListen(address: "\(address)", reason: reason)
        }
        self.loop = loop
        descriptor = handle
        bound = SocketAddress(host: address.host, port: SocketNames.localPort(of: handle))
        watch = DescriptorWatch(handle, on: loop)
        super.init()
        watch.start { [unowned self] _, _ in
            watch.keep(readable: false, writable: false)
            guard let waiting = acceptor else { return }
            acceptor = nil
            waiting.resume()
        }
    }

    override var address: SocketAddress { bound }

    override func accept() async throws(NetworkError) -> AcceptedConnection {
        while !isClosed {
            let accepted = clinux_accept_nonblocking(descriptor)
            if accepted >= 0 { return AcceptedConnection(descriptor: accepted) }
            switch errno {
            case EAGAIN:
                await withUnsafeContinuation {
                    acceptor = $0
                    watch.add(readable: true)
                }
            case EINTR, ECONNABORTED, EPROTO: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: throw .tooManyDescriptors
            default: throw .other(errno: errno)
            }
        }
        throw .closed
    }

    override func close() {
        guard !isClosed else { return }
        isClosed = true
        watch.stop()
        Glibc.close(descriptor)
        if let waiting = acceptor {
            acceptor = nil
            waiting.resume()
        }
    }
}

/// Names and addresses of sockets.
enum SocketNames {
    struct Endpoint {
        var storage = sockaddr_storage()
        var length: socklen_t = 0

        var family: sa_family_t { storage.ss_family }

        func withAddress<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
            withUnsafePointer(to: storage) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
            }
        }
    }

    static func resolve(_ address: SocketAddress) throws(NetworkError) -> Endpoint {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(address.host, String(address.port), &hints, &found)
        defer { if let found { freeaddrinfo(found) } }
        guard code == 0, let first = found?.pointee, let source = first.ai_addr else {
            throw .refused(address: "\(address)", reason: String(cString: gai_strerror(code)))
        }
        var endpoint = Endpoint()
        endpoint.length = first.ai_addrlen
        withUnsafeMutableBytes(of: &endpoint.storage) {
            $0.copyMemory(from: UnsafeRawBufferPointer(start: source, count: Int(first.ai_addrlen)))
        }
        return endpoint
    }

    static func localPort(of descriptor: Int32) -> UInt16 {
        var endpoint = Endpoint()
        endpoint.length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutablePointer(to: &endpoint.storage) {
            _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &endpoint.length)
            }
        }
        return name(of: endpoint)?.port ?? 0
    }

    static func peer(of descriptor: Int32) -> String {
        guard let endpoint = peerEndpoint(of: descriptor), let name = name(of: endpoint) else {
            return "unknown"
        }
        return "\(name)"
    }

    /// Whether the peer reached this machine over its loopback device.
    static func isPeerLocal(of descriptor: Int32) -> Bool {
        guard let endpoint = peerEndpoint(of: descriptor) else { return false }
        return endpoint.withAddress { address, _ in
            switch Int32(endpoint.family) {
            case AF_INET:
                address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    UInt32(bigEndian: $0.pointee.sin_addr.s_addr) >> 24 == 127
                }
            case AF_INET6:
                address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    withUnsafeBytes(of: $0.pointee.sin6_addr) { bytes in
                        bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1
                    }
                }
            default: false
            }
        }
    }

    private static func peerEndpoint(of descriptor: Int32) -> Endpoint? {
        var endpoint = Endpoint()
        endpoint.length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let known = withUnsafeMutablePointer(to: &endpoint.storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getpeername(descriptor, $0, &endpoint.length)
            }
        }
        return known == 0 ? endpoint : nil
    }

    static func descriptorFailure() -> NetworkError {
        errno == EMFILE || errno == ENFILE ? .tooManyDescriptors : .other(errno: errno)
    }

    private static func name(of endpoint: Endpoint) -> SocketAddress? {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var port = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        let code = endpoint.withAddress {
            getnameinfo(
                $0,
                $1,
                &host,
                socklen_t(host.count),
                &port,
                socklen_t(port.count),
                NI_NUMERICHOST | NI_NUMERICSERV
            )
        }
        guard code == 0 else { return nil }
        let text = { (bytes: [CChar]) in
            String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return UInt16(text(port)).map { SocketAddress(host: text(host), port: $0) }
    }
}
