import KafkaMessages

/// What the records of brokers change.
extension MetadataImage {
    mutating func replayBroker(_ record: MetadataRecord) {
        switch record {
        case .broker(let id, let host, let port, let rack):
            // A broker of a standalone node's log: it is not known which directory it has.
            let registration = BrokerRegistration(
                id: id,
                directoryID: .zero,
                incarnation: .zero,
                kafka: BrokerEndpoint(host: host, port: port),
                raft: BrokerEndpoint(host: "", port: 0),
                rack: rack
            )
            put(Broker(registration: registration, epoch: 0))
        case .brokerRegistration(let registration, let epoch):
            nextBrokerEpoch = max(nextBrokerEpoch, epoch.addingOne)
            let known = broker(registration.id)?.registration.directoryID
            put(Broker(registration: registration, epoch: epoch))
            if let known, known != .zero, known != registration.directoryID {
                renewReplicas(on: registration.id)
            }
        case .brokerState(let id, let epoch, let isFenced, let isStopping):
            modifyBroker(id, epoch) { broker in
                broker.isFenced = isFenced
                broker.isStopping = isStopping
            }
        case .brokerReplacement(let id, let directoryID):
            guard let broker = broker(id), broker.registration.directoryID == directoryID else {
                return
            }
            modifyBroker(id, broker.epoch) { $0.mayBeReplaced = true }
        case .removeBroker(let id, let epoch):
            brokers.removeAll { $0.id == id && $0.epoch == epoch }
        case .brokerSnapshot(let broker): put(broker)
        case .topic, .partition, .partitionState, .topicConfig, .brokerConfig, .removeTopic,
            .producerIDs, .leaderships, .assignment, .counters, .removedTopics, .snapshot:
            preconditionFailure("\(record) is not of a broker")
        }
    }

    private mutating func put(_ broker: Broker) {
        brokers.removeAll { $0.id == broker.id }
        let place = brokers.firstIndex { $0.id > broker.id } ?? brokers.endIndex
        brokers.insert(broker, at: place)
    }

    private mutating func modifyBroker(
        _ id: Int32,
        _ epoch: Int64,
        _ change: (inout Broker) -> Void
    ) {
        guard let place = brokers.firstIndex(where: { $0.id == id && $0.epoch == epoch }) else {
            return
        }
        change(&brokers[place])
    }

    /// The broker came back without what it had acknowledged and voted.
    ///
    /// It must not count as the voter it was; each of its groups takes it out and adds it anew.
    private mutating func renewReplicas(on broker: Int32) {
        var affected: [(UInt64, ReplicaAssignment)] = []
        topics.forEach { _, topic in
            for partition in topic.partitions where partition.replicas.contains(broker) {
                var assignment = partition.assignment
                assignment.renew(broker)
                affected.append((partition.groupID, assignment))
            }
        }
        for (groupID, assignment) in affected {
            modifyAssignment(ofGroup: groupID) { partition in
                partition.assign(assignment)
                partition.leadership.inSync.removeAll { $0 == broker }
            }
        }
    }
}

extension ReplicaAssignment {
    /// It may be a member, and must leave first; one that leaves anyway need not come back.
    fileprivate mutating func renew(_ broker: Int32) {
        guard !renewing.contains(broker) else { return }
        rejoining.removeAll { $0 == broker }
        renewing.append(broker)
        revision &+= 1
    }
}

extension Int64 {
    /// Without a trap at the end of the range, which no honest counter reaches.
    fileprivate var addingOne: Int64 { self == .max ? .max : self + 1 }
}
