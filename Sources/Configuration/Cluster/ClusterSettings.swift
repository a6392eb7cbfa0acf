package import Platform

/// What a node of a cluster can be told besides what any server can; the initial values are the
/// defaults.
package struct ClusterSettings: Sendable {
    package var name = "chronik"
    package var raftAddress: SocketAddress?
    package var advertisedRaftAddress: SocketAddress?
    package var peers: [ClusterPeer]?
    package var rack: String?

    package var transport = RaftTransportKind.framed
    package var electionTimeoutMilliseconds = 300
    package var heartbeatIntervalMilliseconds = 30
    package var snapshotBytesPerSecond = 100 << 20
    package var snapshotTransfers = 4
    package var tlsCertificateFile: String?
    package var tlsKeyFile: String?
    package var tlsAuthorityFile: String?

    package var metadataAcks = MetadataAcks.quorum
    package var producesAreProxied = false
    package var defaultReplicationFactor: Int?
    package var minInSyncReplicas: Int?

    package init() {}
}

/// What carries Raft between nodes.
package enum RaftTransportKind: String, Sendable, CaseIterable { case framed, grpc }

/// When a metadata write is acknowledged.
package enum MetadataAcks: String, Sendable, CaseIterable {
    /// Once a majority has synced it.
    case quorum
    /// Once the leader has; what it can lose is what was not yet replicated.
    case leader
}

/// A node and where other nodes reach it: `2@node2:5001`.
package struct ClusterPeer: Sendable, Equatable, CustomStringConvertible {
    package var id: Int
    package var address: SocketAddress

    package init(id: Int, address: SocketAddress) {
        self.id = id
        self.address = address
    }

    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let id = Int(parts[0]), ClusterPeer.ids.contains(id),
            let address = SocketAddress(String(parts[1])), !parts[1].hasPrefix(":")
        else { return nil }
        self.init(id: id, address: address)
    }

    /// 0 stands for "none" in many places, and no node has it.
    static let ids = 1...Int(Int32.max)

    package var description: String { "\(id)@\(address)" }
}

extension ValueType<[ClusterPeer]> {
    package static let peers = Self(
        placeholder: "ID@HOST:PORT,…",
        allowed: "ID@HOST:PORT of the other nodes with commas between, such as "
            + "2@node2:5001,3@node3:5001",
        parse: { text in
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            let peers = parts.compactMap { ClusterPeer($0.drop { $0 == " " }) }
            return peers.count == parts.count ? peers : nil
        },
        text: { $0.map(\.description).joined(separator: ",") },
        plain: { $0.map(\.description).joined(separator: ",") }
    )
}

extension ValueType where Value: RawRepresentable<String> & CaseIterable {
    package static var named: Self {
        let names = Value.allCases.map(\.rawValue)
        return Self(
            placeholder: names.joined(separator: "|"),
            allowed: "one of \(names.joined(separator: ", "))",
            parse: { Value(rawValue: $0) },
            text: { $0.rawValue },
            plain: { $0.rawValue }
        )
    }
}

extension ValueType<String> {
    /// A name that goes into headers, paths and log lines as it is.
    package static let identifier = Self(
        placeholder: "NAME",
        allowed: "1 to 64 of the letters A-Z and a-z, digits, '.', '_' and '-'",
        parse: { text in
            let isName = text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "-"):
                    true
                default: false
                }
            }
            return isName && (1...64).contains(text.utf8.count) ? text : nil
        },
        text: { $0 },
        plain: { $0 }
    )
}
