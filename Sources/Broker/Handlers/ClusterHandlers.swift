import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// DescribeCluster: the cluster's id and its brokers.
struct DescribeClusterHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...1
    private static let brokerEndpoints: Int8 = 1

    let broker: BrokerServices

    func handle(
        _ request: DescribeClusterRequest,
        _ context: RequestContext
    ) async -> DescribeClusterResponse? {
        var response = DescribeClusterResponse()
        response.endpointType = request.endpointType
        guard request.endpointType == Self.brokerEndpoints else {
            response.errorCode = ErrorCode.unsupportedEndpointType.rawValue
            response.errorMessage = "this listener serves brokers' endpoints only"
            return response
        }
        response.clusterId = broker.clusterID
        response.controllerId = await broker.metadata.leader ?? -1
        response.brokers = broker.brokersForClients.map { known in
            var node = DescribeClusterResponse.DescribeClusterBroker()
            node.brokerId = known.id
            node.host = known.host
            node.port = Int32(known.port)
            node.rack = known.rack
            return node
        }
        return response
    }
}

/// InitProducerId: an id for an idempotent producer, never given out twice.
struct InitProducerIdHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...4
    let broker: BrokerServices

    func handle(
        _ request: InitProducerIdRequest,
        _ context: RequestContext
    ) async -> InitProducerIdResponse? {
        var response = InitProducerIdResponse()
        response.producerId = -1
        response.producerEpoch = -1
        guard request.transactionalId == nil else {
            response.errorCode = ErrorCode.transactionalIdAuthorizationFailed.rawValue
            return response
        }
        do {
            response.producerId = try await broker.metadata.nextProducerID()
            response.producerEpoch = 0
        } catch {
            response.errorCode = ErrorCode.coordinatorNotAvailable.rawValue
        }
        return response
    }
}
