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
struct ProduceHandler: CallbackHandler {
    static let versions: ClosedRange<Int16> = 3...11

    let broker: BrokerServices

    func begin(
        _ request: ProduceRequest,
        _ context: RequestContext,
        _ answer: Answer<ProduceRequest>
    ) {
        append(request, on: context.client.loop, passing: broker.proxy) { [broker] plan in
            if request.acks != 0 {
                answer.give(plan.response(broker.image))
            } else if let failure = plan.firstFailure {
                answer.close(ConnectionEnd(reason: failure))
            } else {
                answer.give(nil)
            }
        }
    }

    /// Appends what another node passes on, and tells it what came of it whatever `acks` says.
    ///
    /// `loop` is the one it is called on.
    func appendForwarded(_ request: ProduceRequest, on loop: EventLoop) async -> ProduceResponse {
        await withUnsafeContinuation { continuation in
            append(request, on: loop, passing: nil) { [broker] plan in
                continuation.resume(returning: plan.response(broker.image))
            }
        }
    }

    private func append(
        _ request: ProduceRequest,
        on loop: EventLoop,
        passing proxy: ProduceProxy?,
        done: @escaping (AppendPlan) -> Void
    ) {
        let plan = AppendPlan(request, on: loop)
        if let refusal = refusal(of: request) {
            plan.settleAll(AppendResult(error: refusal))
            return done(plan)
        }
        plan.prepare(broker, passing: proxy)
        plan.append(broker, passing: proxy, done: done)
    }

    private func refusal(of request: ProduceRequest) -> ErrorCode? {
        if ![-1, 0, 1].contains(request.acks) { return .invalidRequiredAcks }
        if request.transactionalId != nil { return .transactionalIdAuthorizationFailed }
        return nil
    }
}
