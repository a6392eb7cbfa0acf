public import Raft

/// How a host reaches the other nodes of its cluster.
public protocol RaftNetwork: Sendable {
    /// Makes a transport that has not started yet; called once by each host.
    func makeTransport(for seat: HostSeat) throws(RaftHostError) -> any HostTransport
}

/// A transport with a life of its own, which a host starts and stops.
public protocol HostTransport: RaftTransport {
    /// Begins to take frames in, and to send to the peers it is told of.
    ///
    /// - Parameter delegate: Kept until ``stop()``.
    /// - Returns: The address other nodes reach this one at.
    /// - Throws: ``RaftHostError/network(_:)`` if it cannot listen.
    func start(delegate: any RaftTransportDelegate) async throws(RaftHostError) -> String

    /// The other nodes and their addresses; those that are no longer there are forgotten.
    func setPeers(_ addresses: [ReplicaID: String]) throws(RaftHostError)

    /// Ends; when it returns the delegate is not called any more.
    func stop() async
}

/// Whose transport it is.
public struct HostSeat: Sendable {
    public let cluster: String
    public let node: ReplicaID
    /// When this life of the node began, in nanoseconds of the wall clock.
    public let incarnation: UInt64
    public let threads: RaftThreads
}
