package import KafkaMessages
import KafkaProtocol

/// What registrations and their loss change.
///
/// States of a broker, as the records move it:
///
///     registers            up
///     silent               fenced: leads nothing to clients, is given nothing new
///     heard again          up
///     says it will stop    stopping: hands its leaderships over
///     registers again      up, under a higher epoch
extension MetadataController {
    /// The only broker of a standalone node.
    package mutating func registerBroker(
        host: String,
        port: UInt16,
        rack: String?
    ) -> Decision<Void> {
        let record = MetadataRecord.broker(
            id: settings.nodeID,
            host: host,
            port: port,
            rack: rack
        )
        var after = decided
        after.replay(record)
        return after.brokers == decided.brokers
            ? Decision(records: [], answer: ()) : decide([record], ())
    }

    /// A broker's epoch once it is registered.
    ///
    /// - Throws: ``MetadataProblem`` naming both of what disagrees.
    package mutating func register(
        _ broker: BrokerRegistration,
        clusterID: String
    ) throws(MetadataProblem) -> Decision<Int64> {
        guard settings.clusterID.isEmpty || clusterID == settings.clusterID else {
            throw .init(
                .inconsistentClusterId,
                "node \(broker.id) belongs to cluster '\(clusterID)', this is cluster"
                    + " '\(settings.clusterID)'"
            )
        }
        guard broker.id >= 0, broker.directoryID != .zero, broker.incarnation != .zero else {
            throw .init(
                .invalidRegistration,
                "node \(broker.id) with directory \(broker.directoryID) and incarnation"
                    + " \(broker.incarnation): none of the three may be missing"
            )
        }
        if let known = decided.broker(broker.id) {
            // The same registration once more, after its outcome was lost.
            if known.registration == broker && !known.isStopping {
                guard known.isFenced else { return Decision(records: [], answer: known.epoch) }
                return decide([known.state(isFenced: false)], known.epoch)
            }
            try checkSuccession(of: known, by: broker)
        }
        if let other = decided.brokers.first(where: {
            $0.id != broker.id && $0.registration.directoryID == broker.directoryID
        }) {
            throw .init(
                .duplicateBrokerRegistration,
                "node \(broker.id) and node \(other.id) have the same data directory"
                    + " \(broker.directoryID): one is a copy of the other"
            )
        }
        let epoch = decided.nextBrokerEpoch
        return decide([.brokerRegistration(broker, epoch: epoch)], epoch)
    }

    private func checkSuccession(
        of known: MetadataImage.Broker,
        by broker: BrokerRegistration
    ) throws(MetadataProblem) {
        let old = known.registration
        if old.directoryID == .zero { return }
        if old.directoryID == broker.directoryID {
            // A directory has one process at a time, on one machine; elsewhere it is a copy.
            guard old.raft == broker.raft || !known.isUsable else {
                throw .init(
                    .duplicateBrokerRegistration,
                    "node \(broker.id) at \(broker.raft) has the data directory"
                        + " \(broker.directoryID) of the node \(broker.id) that is alive at"
                        + " \(old.raft)"
                )
            }
            return
        }
        if known.mayBeReplaced { return }
        guard known.isFenced || known.isStopping else {
            throw .init(
                .duplicateBrokerRegistration,
                "node \(broker.id) at \(broker.raft) with data directory \(broker.directoryID):"
                    + " a node \(broker.id) with data directory \(old.directoryID) is alive at"
                    + " \(old.raft)"
            )
        }
        throw .init(
            .duplicateBrokerRegistration,
            "node \(broker.id) has data directory \(broker.directoryID), but registered with"
                + " \(old.directoryID): if that disk is lost for good, replace the node; else"
                + " start it with its old disk"
        )
    }

    /// An operator gives up the data directory of a broker: another may register in its place.
    package mutating func replaceBroker(
        _ id: Int32,
        directoryID: KafkaUUID
    ) throws(MetadataProblem) -> Decision<Void> {
        let known = try registered(id)
        guard known.registration.directoryID == directoryID else {
            throw .init(
                .invalidRequest,
                "node \(id) has data directory \(known.registration.directoryID), not"
                    + " \(directoryID)"
            )
        }
        guard known.isFenced else {
            throw .init(
                .invalidRequest,
                "node \(id) with data directory \(directoryID) is alive at"
                    + " \(known.registration.raft); stop it before it is replaced"
            )
        }
        if known.mayBeReplaced { return Decision(records: [], answer: ()) }
        return decide([.brokerReplacement(id: id, directoryID: directoryID)], ())
    }

    /// Takes a broker without replicas out of the cluster.
    package mutating func unregisterBroker(_ id: Int32) throws(MetadataProblem) -> Decision<Void> {
        let known = try registered(id)
        let replicas = decided.loads[id]?.replicas ?? 0
        guard replicas == 0 else {
            throw .init(
                .invalidRequest,
                "broker \(id) has \(replicas) replicas; reassign them first"
            )
        }
        return decide([.removeBroker(id: id, epoch: known.epoch)], ())
    }

    // MARK: Liveness, as the metadata's leader sees it

    package mutating func brokerIsSilent(_ id: Int32) -> Decision<Void> {
        guard let broker = decided.broker(id), !broker.isFenced else {
            return Decision(records: [], answer: ())
        }
        return decide([broker.state(isFenced: true)], ())
    }

    /// Only the process that registered comes back by being heard.
    package mutating func brokerIsBack(_ id: Int32, incarnation: KafkaUUID) -> Decision<Void> {
        guard let broker = decided.broker(id), broker.isFenced,
            broker.registration.incarnation == incarnation
        else { return Decision(records: [], answer: ()) }
        return decide([broker.state(isFenced: false)], ())
    }

    /// A planned stop begins: the broker is to lead nothing any more.
    package mutating func brokerIsStopping(
        _ id: Int32,
        epoch: Int64
    ) throws(MetadataProblem) -> Decision<Void> {
        let broker = try registered(id, epoch: epoch)
        if broker.isStopping { return Decision(records: [], answer: ()) }
        return decide([broker.state(isStopping: true)], ())
    }

    func registered(
        _ id: Int32,
        epoch: Int64? = nil
    ) throws(MetadataProblem) -> MetadataImage.Broker {
        guard let broker = decided.broker(id) else {
            throw .init(.brokerIdNotRegistered, "no broker \(id) is registered")
        }
        guard epoch == nil || epoch == broker.epoch else {
            throw .init(
                .staleBrokerEpoch,
                "broker \(id) registered with epoch \(broker.epoch), not \(epoch ?? -1)"
            )
        }
        return broker
    }

    // MARK: Producer ids

    /// Sets `count` producer ids aside, never to be given out again.
    package mutating func reserveProducerIDs(_ count: Int64) -> Decision<Range<Int64>> {
        let first = decided.nextProducerID
        return decide([.producerIDs(next: first + count)], first..<first + count)
    }

    /// How many producer ids a broker is given at once.
    package static let producerIDBlock: Int64 = 1_000

    /// A block of producer ids for a broker to give out.
    package mutating func allocateProducerIDs(
        to broker: Int32,
        epoch: Int64
    ) throws(MetadataProblem) -> Decision<Range<Int64>> {
        _ = try registered(broker, epoch: epoch)
        guard decided.nextProducerID <= Int64.max - Self.producerIDBlock else {
            throw .init(.unknownServerError, "every producer id was given out")
        }
        return reserveProducerIDs(Self.producerIDBlock)
    }
}

extension MetadataProblem {
    /// Whether a node that registers is refused for what it is, and will be however often it asks.
    ///
    /// Everything else passes: no leader, no majority, a leader whose disk is full.
    package var rejectsRegistration: Bool {
        switch code {
        case .inconsistentClusterId, .duplicateBrokerRegistration, .invalidRegistration,
            .invalidRequest:
            true
        default: false
        }
    }
}

extension MetadataImage.Broker {
    fileprivate func state(isFenced: Bool? = nil, isStopping: Bool? = nil) -> MetadataRecord {
        .brokerState(
            id: id,
            epoch: epoch,
            isFenced: isFenced ?? self.isFenced,
            isStopping: isStopping ?? self.isStopping
        )
    }
}
