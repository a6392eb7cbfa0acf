/// Why a host could not be opened, or a group not started.
public enum RaftHostError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A setting cannot be used.
    case invalidConfiguration(String)
    /// Another host, of this process or another, has the directory open.
    case directoryInUse(String)
    /// The directory belongs to another node or cluster.
    case foreignDirectory(String)
    /// The disk refused, or what is on it cannot be trusted; says what to do where there is
    /// something.
    case storage(String)
    /// The transport could not start.
    case network(String)
    /// The log of this host knows nothing of the group.
    case unknownGroup(UInt64)
    /// The group was started before, or its log is there already.
    case groupExists(UInt64)
    /// This replica lost what no other replica has; says what it was.
    case groupLost(UInt64, String)
    /// The host is closed.
    case closed

    public var description: String {
        switch self {
        case .invalidConfiguration(let reason): reason
        case .directoryInUse(let path): "\(path) is in use by another host"
        case .foreignDirectory(let reason): reason
        case .storage(let reason): reason
        case .network(let reason): reason
        case .unknownGroup(let group): "nothing is known of group \(group)"
        case .groupExists(let group): "group \(group) is there already"
        case .groupLost(let group, let reason): "group \(group) cannot go on: \(reason)"
        case .closed: "the host is closed"
        }
    }
}
