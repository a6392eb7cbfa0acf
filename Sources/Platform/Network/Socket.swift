public import Bytes
import Glibc

/// A connected stream, confined to the loop it was made on.
///
/// One reader and one writer at a time; both return without suspending when the kernel has, or
/// takes, the bytes at once.
open class Socket: @unchecked Sendable {
    // Unchecked: confined to its loop, which implementations check.
    public init() {}

    /// The other side, for log lines.
    open var peer: String { preconditionFailure("a socket without an implementation") }

    /// Reads what is there, at least one byte; 0 when the peer has closed its side.
    open func read(into buffer: UnsafeMutableRawBufferPointer) async throws(NetworkError) -> Int {
        preconditionFailure("a socket without an implementation")
    }

    /// The next byte, which stays to be read; `nil` when the peer has closed its side.
    open func peek() async throws(NetworkError) -> UInt8? {
        preconditionFailure("a socket without an implementation")
    }

    /// Writes all of it, memory pieces gathered and file pieces by `sendfile`.
    open func write(_ rope: ByteRope) async throws(NetworkError) {
        preconditionFailure("a socket without an implementation")
    }

    /// Gives the open connection to whoever adopts it next, unread bytes and all; this socket is
    /// as good as closed, and nobody may be reading or writing.
    open func detach() -> AcceptedConnection {
        preconditionFailure("a socket without an implementation")
    }

    /// Writes what is taken without waiting and returns how much that was.
    ///
    /// 0 also when the connection has ended: ``write(_:)`` tells; and by default. Not while a writer is
    /// suspended.
    open func writeNow(_ bytes: ByteSlice) -> Int { 0 }

    /// Ends both directions; a suspended reader or writer gets ``NetworkError/closed``.
    open func close() { preconditionFailure("a socket without an implementation") }
}

/// A connection no loop owns yet.
public final class AcceptedConnection: @unchecked Sendable {
    // Unchecked: handed over once, from the listener to the loop that adopts it.
    public let endpoint: AnyObject?
    public let descriptor: Int32

    public init(descriptor: Int32, endpoint: AnyObject? = nil) {
        self.descriptor = descriptor
        self.endpoint = endpoint
    }
}

/// Accepts connections, confined to the loop it was made on.
open class Listener: @unchecked Sendable {
    // Unchecked: confined to its loop.
    public init() {}

    /// Where it listens, with the port the system chose if 0 was asked for.
    open var address: SocketAddress { preconditionFailure("a listener without an implementation") }

    /// The next connection; suspends until there is one.
    open func accept() async throws(NetworkError) -> AcceptedConnection {
        preconditionFailure("a listener without an implementation")
    }

    open func close() { preconditionFailure("a listener without an implementation") }
}

/// A host (name or address) and a port.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port`, `[v6]:port` or `:port` (all interfaces).
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.first == "[" && host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        self.init(host: host.isEmpty ? "0.0.0.0" : String(host), port: port)
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Why the network did not do what was asked.
public enum NetworkError: Error, Equatable, CustomStringConvertible {
    /// The peer or this side closed the connection.
    case closed
    case refused(address: String, reason: String)
    case cannotListen(address: String, reason: String)
    /// Process or system limit on open descriptors reached.
    case tooManyDescriptors
    case other(errno: Int32)

    public var description: String {
        switch self {
        case .closed: "the connection is closed"
        case .refused(let address, let reason): "no connection to \(address): \(reason)"
        case .cannotListen(let address, let reason): "cannot listen on \(address): \(reason)"
        case .tooManyDescriptors: "too many files and connections are open"
        case .other(let errno): String(cString: strerror(errno))
        }
    }
}
