package import KafkaMessages

/// Where a node listens.
package struct BrokerEndpoint: Sendable, Equatable, CustomStringConvertible {
    package var host: String
    package var port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    package var description: String { "\(host):\(port)" }
}

/// What a node says of itself when it joins.
package struct BrokerRegistration: Sendable, Equatable {
    package var id: Int32
    /// The data directory; written into it when it was made, so a wiped disk has another one.
    package var directoryID: KafkaUUID
    /// The run of the process.
    package var incarnation: KafkaUUID
    package var kafka: BrokerEndpoint
    package var raft: BrokerEndpoint
    package var rack: String?

    package init(
        id: Int32,
        directoryID: KafkaUUID,
        incarnation: KafkaUUID,
        kafka: BrokerEndpoint,
        raft: BrokerEndpoint,
        rack: String? = nil
    ) {
        self.id = id
        self.directoryID = directoryID
        self.incarnation = incarnation
        self.kafka = kafka
        self.raft = raft
        self.rack = rack
    }
}

extension MetadataImage {
    package struct Broker: Sendable, Equatable {
        package let registration: BrokerRegistration
        /// Rises with every registration in the cluster; 0 of a broker that never registered in
        /// one.
        package let epoch: Int64
        /// Set while the metadata's leader does not hear the node.
        package internal(set) var isFenced = false
        /// Set from the moment it says that it will stop until it registers again.
        package internal(set) var isStopping = false
        /// Set when an operator has given its data directory up, until another one registers.
        package internal(set) var mayBeReplaced = false

        package var id: Int32 { registration.id }
        package var host: String { registration.kafka.host }
        package var port: UInt16 { registration.kafka.port }
        package var rack: String? { registration.rack }

        /// Whether it can be given work.
        package var isUsable: Bool { !isFenced && !isStopping }
    }

    /// How much a broker has to carry.
    package struct BrokerLoad: Sendable, Equatable {
        package internal(set) var replicas = 0
        /// Partitions it is the preferred leader of.
        package internal(set) var preferred = 0
    }
}
