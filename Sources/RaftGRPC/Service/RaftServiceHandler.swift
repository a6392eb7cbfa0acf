package import Bytes
package import Raft
package import RaftRuntime

/// What a node does for those who call its `RaftService`.
///
/// Called on one of the event loops the service was given; what belongs to another loop the node
/// goes to by itself.
package protocol RaftServiceHandler: AnyObject, Sendable {
    /// Refuses a node that does not belong to the cluster.
    func admit(_ node: ReplicaID) async throws(RaftCallError)

    /// The group a route leads to, of which there is a replica here.
    ///
    /// Throws `unknownPartition`, or `staleGroup` where topic and group disagree.
    func group(at route: GroupRoute) async throws(RaftCallError) -> UInt64

    /// The term of the replica.
    func term(of group: UInt64) async throws(RaftCallError) -> Term

    /// Steps a message into its replica; what that answers leaves by the transport, as always.
    func step(_ message: GroupMessage) async throws(RaftCallError)

    /// A read index from the leader that is here, after it has made sure that it still leads.
    func readIndex(of group: UInt64) async throws(RaftCallError) -> ReadIndexResponse

    /// Proposes bytes to the leader that is here; returns when they are applied.
    func write(
        _ payload: ByteSlice,
        to group: UInt64
    ) async throws(RaftCallError) -> ForwardWriteResponse

    func metadata(
        _ request: QueryMetadataRequest
    ) async throws(RaftCallError) -> QueryMetadataResponse
}
