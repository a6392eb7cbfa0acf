package import Platform
package import Raft

/// Who the node is and what its transport may use.
package struct FramedTransportConfiguration: Sendable {
    package var identity: NodeIdentity
    package var listenAddress: SocketAddress
    /// The longest frame sent or taken, header and all.
    ///
    /// A frame of messages ends after a mebibyte, so this bounds a single message.
    package var maxFrameBytes = 66 << 20
    /// What may wait to be sent to a peer on one stream; what does not fit is dropped.
    package var maxQueuedBytes = 64 << 20
    package var maxQueuedFrames = 16_384
    package var connectNanoseconds = Int64.seconds(2)
    /// From the connection to the end of the handshake.
    package var handshakeNanoseconds = Int64.seconds(5)
    /// Something is sent at least this often, and its receipt at most.
    package var keepAliveNanoseconds = Int64.seconds(1)
    /// A connection on which nothing moves for so long is closed.
    package var stallNanoseconds = Int64.seconds(5)
    /// The wait after the first failed attempt; it doubles with each further one.
    package var minBackoffNanoseconds = Int64.milliseconds(20)
    package var maxBackoffNanoseconds = Int64.seconds(1)
    /// Accepted connections that have not said who they are; further ones are closed at once.
    package var maxUnfinishedHandshakes = 256
    /// What stands between the sockets and the frames; without one, frames are sent in the clear.
    package var stage: (any StreamStage)?

    package init(identity: NodeIdentity, listenAddress: SocketAddress) {
        self.identity = identity
        self.listenAddress = listenAddress
    }
}

/// A stage between a socket and what is said on it, TLS for one: takes a socket and gives one.
///
/// Called on the socket's loop, and given the time of a handshake. With a stage, connections that
/// do not begin with a TLS record are refused.
package protocol StreamStage: Sendable {
    func dialed(_ socket: Socket, to peer: ReplicaID) async throws -> Socket
    func accepted(_ socket: Socket) async throws -> Socket
    /// Throws unless the other side of an accepted socket may call itself `peer`, as it does.
    func check(_ socket: Socket, isOf peer: ReplicaID) throws
}
