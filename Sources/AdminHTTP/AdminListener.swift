import Glibc
package import Platform

/// Why the admin server cannot listen.
package struct AdminListenProblem: Error, CustomStringConvertible {
    package let address: SocketAddress
    package let reason: String

    package var description: String { "\(address): \(reason)" }
}

/// A socket that listens, on its way to the daemon that will own it.
struct AdminListener {
    let descriptor: Int32
    /// Where it listens, with the port the system chose if 0 was asked for.
    let address: SocketAddress

    static func open(_ wanted: SocketAddress) throws(AdminListenProblem) -> AdminListener {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(wanted.host, "\(wanted.port)", &hints, &found)
        guard status == 0, let first = found else {
            throw AdminListenProblem(address: wanted, reason: String(cString: gai_strerror(status)))
        }
        defer { freeaddrinfo(first) }
        return try listen(first.pointee, wanted)
    }

    private static func listen(
        _ target: addrinfo,
        _ wanted: SocketAddress
    ) throws(AdminListenProblem) -> AdminListener {
        let type = target.ai_socktype | Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = socket(target.ai_family, type, 0)
        guard descriptor >= 0 else { throw problem(wanted) }
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
        guard bind(descriptor, target.ai_addr, target.ai_addrlen) == 0,
            Glibc.listen(descriptor, 64) == 0, let port = port(of: descriptor)
        else {
            let problem = problem(wanted)
            close(descriptor)
            throw problem
        }
        return AdminListener(
            descriptor: descriptor,
            address: SocketAddress(host: wanted.host, port: port)
        )
    }

    private static func problem(_ address: SocketAddress) -> AdminListenProblem {
        AdminListenProblem(address: address, reason: String(cString: strerror(errno)))
    }

    private static func port(of descriptor: Int32) -> UInt16? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &length)
            }
        }
        guard status == 0 else { return nil }
        return withUnsafePointer(to: &storage) { pointer in
            if pointer.pointee.ss_family == sa_family_t(AF_INET6) {
                return pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    UInt16(bigEndian: $0.pointee.sin6_port)
                }
            }
            return pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                UInt16(bigEndian: $0.pointee.sin_port)
            }
        }
    }
}
