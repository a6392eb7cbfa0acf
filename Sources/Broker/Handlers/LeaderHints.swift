import ClusterMetadata

/// What a client that came to the wrong node is told, so that it need not ask again (KIP-951).
enum LeaderHints {
    /// The brokers that lead, each once.
    static func brokers(in leaders: some Sequence<KnownLeader>) -> [Int32] {
        var ids: [Int32] = []
        for leader in leaders {
            if let id = leader.id, !ids.contains(id) { ids.append(id) }
        }
        return ids
    }

    static func endpoints(of ids: [Int32], in image: MetadataImage) -> [MetadataImage.Broker] {
        ids.compactMap { image.broker($0) }
    }
}
