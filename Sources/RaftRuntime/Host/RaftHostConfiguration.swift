public import Raft

/// Who a host is, where it keeps its log, and how it reaches the others.
public struct RaftHostConfiguration: Sendable {
    /// Nodes of other clusters are refused; at most 255 bytes of UTF-8, no line breaks.
    public var cluster: String
    /// This node, and its replica in every group; never 0.
    public var node: ReplicaID
    /// Made if it does not exist; one host has it for itself.
    public var directory: String
    /// To the other nodes; `nil`: every group has one replica, this one.
    public var network: (any RaftNetwork)?
    /// The same on all nodes of a cluster.
    public var raft = RaftConfig()
    /// Bytes the write-ahead log may take; at least twice `logFileBytes`.
    ///
    /// At half of it groups are compacted, and beyond it proposals are refused until that is done.
    public var logBytes = 1 << 30
    /// Size of a file of the write-ahead log in bytes; from 64 KiB to 1 GiB.
    public var logFileBytes = 64 << 20

    public init(
        cluster: String,
        node: ReplicaID,
        directory: String,
        network: (any RaftNetwork)? = nil
    ) {
        self.cluster = cluster
        self.node = node
        self.directory = directory
        self.network = network
    }

    /// Checks that the settings make sense, alone and together.
    public func validate() throws(RaftHostError) {
        do {
            try raft.validate()
        } catch {
            throw .invalidConfiguration(error.description)
        }
        let isNameGood = !cluster.isEmpty && cluster.utf8.count <= 255
        guard isNameGood, !cluster.contains(where: \.isNewline) else {
            throw .invalidConfiguration("a cluster's name has 1 to 255 bytes and no line breaks")
        }
        guard node.rawValue != 0 else { throw .invalidConfiguration("no node has the id 0") }
        guard (64 << 10...1 << 30).contains(logFileBytes) else {
            throw .invalidConfiguration("log files of \(logFileBytes) bytes")
        }
        guard logBytes / 2 >= logFileBytes else {
            throw .invalidConfiguration("\(logBytes) bytes for log files of \(logFileBytes)")
        }
    }
}
