package import Bytes

/// The messages of `proto/raft_rpc.proto` by their names: to compare our codec with others.
package enum MessageCatalog {
    private static let types: [String: any (ProtobufMessage & SendableMetatype).Type] = [
        "CallHeader": CallHeader.self,
        "Route": GroupRoute.self,
        "AppendEntriesRequest": AppendEntriesRequest.self,
        "RequestVoteRequest": RequestVoteRequest.self,
        "RequestVoteResponse": RequestVoteResponse.self,
        "InstallSnapshotRequest": InstallSnapshotRequest.self,
        "InstallSnapshotResponse": InstallSnapshotResponse.self,
        "ReadIndexRequest": ReadIndexRequest.self,
        "ReadIndexResponse": ReadIndexResponse.self,
        "QueryMetadataRequest": QueryMetadataRequest.self,
        "QueryMetadataResponse": QueryMetadataResponse.self,
        "ForwardWriteRequest": ForwardWriteRequest.self,
        "ForwardWriteResponse": ForwardWriteResponse.self,
        "StreamRequest": StreamRequest.self,
        "ErrorDetail": ErrorDetail.self,
    ]

    package static var names: [String] { types.keys.sorted() }

    /// What becomes of a message when we decode it and encode it again; `nil` for what is none.
    package static func reencoded(_ name: String, _ bytes: ByteSlice) -> ByteSlice? {
        guard let type = types[name] else { return nil }
        return try? type.init(protobuf: bytes).encoded().joined()
    }
}
