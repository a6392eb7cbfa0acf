import Bytes
import ClusterMetadata
import KafkaMessages
import KafkaProtocol
import Platform

/// Produce: appends batches, and answers when what `acks` asks for has happened.
///
/// acks=0 is answered with nothing, or with the end of the connection when a batch could not be
/// appended: nothing else tells the producer to look for another leader. acks=1 once the batches are
/// durable on this node, acks=all once they are on a majority: on a group of one voter the two are
/// the same moment.
///
/// What another node leads is refused, or passed on to that node where there is a ``ProduceProxy``.
struct ProduceHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 3...11

    let broker: BrokerServices

    func handle(
        _ request: ProduceRequest,
        _ context: RequestContext
    ) async throws(ConnectionEnd) -> ProduceResponse? {
        let plan = await append(request, on: context.client.loop, passing: broker.proxy)
        guard request.acks == 0 else { return plan.response(broker.image) }
        if let failure = plan.firstFailure { throw ConnectionEnd(reason: failure) }
        return nil
    }

    /// Appends what another node passes on, and tells it what came of it whatever `acks` says.
    ///
    /// `loop` is the one it is called on.
    func appendForwarded(_ request: ProduceRequest, on loop: EventLoop) async -> ProduceResponse {
        await append(request, on: loop, passing: nil).response(broker.image)
    }

    private func append(
        _ request: ProduceRequest,
        on loop: EventLoop,
        passing proxy: ProduceProxy?
    ) async -> AppendPlan {
        var plan = AppendPlan(request)
        if let refusal = refusal(of: request) {
            plan.settleAll(AppendResult(error: refusal))
        } else {
            plan.prepare(broker, passing: proxy)
            await plan.append(broker, passing: proxy, on: loop)
        }
        return plan
    }

    private func refusal(of request: ProduceRequest) -> ErrorCode? {
        if ![-1, 0, 1].contains(request.acks) { return .invalidRequiredAcks }
        if request.transactionalId != nil { return .transactionalIdAuthorizationFailed }
        return nil
    }
}
