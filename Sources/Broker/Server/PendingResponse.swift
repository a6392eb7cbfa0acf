import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// The place of a response in its connection's order, from the request's arrival until it is known.
///
/// Confined to the loop of its connection.
final class PendingResponse: @unchecked Sendable {
    // Unchecked: confined to its loop.
    let requestBytes: Int
    /// Nanoseconds of the loop's monotonic clock.
    let arrived: Int64
    /// Where the time it takes is counted.
    var latency: LatencyHistogram?
    private(set) var outcome: RequestOutcome?
    private let owner: any ResponseOwner

    init(requestBytes: Int, arrived: Int64, owner: any ResponseOwner) {
        self.requestBytes = requestBytes
        self.arrived = arrived
        self.owner = owner
    }

    func end(_ outcome: RequestOutcome) {
        precondition(self.outcome == nil, "a request is answered twice")
        self.outcome = outcome
        owner.ended(self)
    }
}

/// Who sends responses on; it is there until all have ended.
protocol ResponseOwner: AnyObject, Sendable {
    /// The outcome of a response is there; called once for each, on its loop.
    func ended(_ response: PendingResponse)
}

/// What became of a request.
enum RequestOutcome: Sendable {
    case response(ByteRope)
    /// Nothing is answered: a produce with acks=0 that succeeded.
    case silence
    /// The connection cannot go on: acks=0 that failed, as Kafka does it.
    case close(String)
}

/// Where the answer to a request goes.
struct Answer<Request: KafkaRequest>: Sendable {
    let pending: PendingResponse
    let version: Int16
    let correlationID: Int32

    /// `nil` when nothing is to be answered.
    func give(_ response: Request.Response?) {
        guard let response else { return pending.end(.silence) }
        pending.end(
            ResponseFrame.encode(
                response,
                version: version,
                headerVersion: Request.apiKey.responseHeaderVersion(for: version),
                correlationID: correlationID
            )
        )
    }

    /// The peer can be told of a failure in no other way than the end of its connection.
    func close(_ end: ConnectionEnd) { pending.end(.close(end.reason)) }
}
