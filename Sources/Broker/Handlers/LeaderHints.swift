import ClusterMetadata
import KafkaMessages

/// What a client that came to the wrong node is told, so that it need not ask again (KIP-951).
enum LeaderHints {
    /// Where the brokers that lead are, each once; `image` is looked at only if there are any.
    static func endpoints<Endpoint: LeaderEndpoint>(
        of leaders: some Sequence<KnownLeader>,
        in image: @autoclosure () -> MetadataImage
    ) -> [Endpoint] {
        var ids: [Int32] = []
        for leader in leaders {
            if let id = leader.id, !ids.contains(id) { ids.append(id) }
        }
        guard !ids.isEmpty else { return [] }
        let image = image()
        return ids.compactMap { image.broker($0) }.map { broker in
            var endpoint = Endpoint()
            endpoint.nodeId = broker.id
            endpoint.host = broker.host
            endpoint.port = Int32(broker.port)
            endpoint.rack = broker.rack
            return endpoint
        }
    }
}

/// What produce and fetch tell of a broker that leads.
protocol LeaderEndpoint {
    init()
    var nodeId: Int32 { get set }
    var host: String { get set }
    var port: Int32 { get set }
    var rack: String? { get set }
}

extension FetchResponse.NodeEndpoint: LeaderEndpoint {}
extension ProduceResponse.NodeEndpoint: LeaderEndpoint {}
