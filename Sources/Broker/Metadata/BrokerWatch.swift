import ClusterMetadata
import KafkaMessages
import Platform
import Raft
import RaftRuntime

/// Which brokers are alive, as the leader of the metadata hears their beats; fences those that are
/// silent and takes them back.
actor BrokerWatch {
    private static let leastInterval = Int64.milliseconds(100)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let incarnation: KafkaUUID
    /// Nanoseconds from one look to the next.
    private let interval: Int64
    private let metadata: MetadataService
    /// The nodes that are heard, and the incarnation of each.
    private let peers: @Sendable () -> [Int32: UInt64]
    /// Looks since this node began to lead; a broker has so many to be heard.
    private var looks = 0
    private var isWatching = false
    private static let patientLooks = 20

    /// Looks as often as beats come: what is heard does not change more often.
    ///
    /// - Parameters:
    ///   - loop: Where the metadata is led from.
    ///   - nodeID: This broker.
    ///   - incarnation: Its life.
    ///   - beat: Nanoseconds from one beat of a node to the next.
    ///   - metadata: What is to know of the brokers.
    ///   - peers: The nodes that are heard, and the incarnation of each.
    init(
        loop: EventLoop,
        nodeID: Int32,
        incarnation: KafkaUUID,
        beat: Int64,
        metadata: MetadataService,
        peers: @escaping @Sendable () -> [Int32: UInt64]
    ) {
        self.loop = loop
        self.nodeID = nodeID
        self.incarnation = incarnation
        interval = max(Self.leastInterval, beat)
        self.metadata = metadata
        self.peers = peers
    }

    /// This node begins or ceases to lead the metadata.
    func leads(_ leads: Bool) {
        looks = 0
        guard leads != isWatching else { return }
        isWatching = leads
        if leads { schedule() }
    }

    private func schedule() {
        _ = loop.schedule(after: interval) { [weak self] in
            guard let self else { return }
            Task.immediate(executorPreference: self.loop) { await self.look() }
        }
    }

    private func look() async {
        guard isWatching else { return }
        looks += 1
        let heard = peers()
        let own = nodeID
        let ownIncarnation = incarnation
        let isPatient = looks < Self.patientLooks
        let hasNews = metadata.image.brokers.contains { broker in
            let isHeard = broker.id == own || Self.isHeard(broker, heard)
            return isHeard == broker.isFenced && !(isPatient && !isHeard)
        }
        if hasNews {
            await metadata.liveness { controller in
                var records: [MetadataRecord] = []
                for broker in controller.decided.brokers {
                    if broker.id == own {
                        records += controller.brokerIsBack(own, incarnation: ownIncarnation).records
                    } else if Self.isHeard(broker, heard) {
                        records +=
                            controller.brokerIsBack(
                                broker.id,
                                incarnation: broker.registration.incarnation
                            ).records
                    } else if !isPatient {
                        records += controller.brokerIsSilent(broker.id).records
                    }
                }
                return records
            }
        }
        if isWatching { schedule() }
    }

    /// Whether the process that registered is heard, not another under its id.
    private static func isHeard(_ broker: MetadataImage.Broker, _ heard: [Int32: UInt64]) -> Bool {
        guard let life = heard[broker.id] else { return false }
        return broker.registration.incarnation == NodeIncarnation.id(of: life)
    }
}

/// The run of a process, as the nodes' beats count it and as registrations name it.
enum NodeIncarnation {
    static func id(of nanoseconds: UInt64) -> KafkaUUID {
        KafkaUUID(high: 0x6368_726f_6e69_6b00, low: nanoseconds)
    }
}
