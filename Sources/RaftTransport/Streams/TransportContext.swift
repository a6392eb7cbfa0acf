internal import Platform
internal import Raft
internal import RaftRuntime

/// What all streams of a node share.
final class TransportContext: Sendable {
    let configuration: FramedTransportConfiguration
    let metrics: TransportMetrics
    let log: Logger
    let delegate: any RaftTransportDelegate
    /// Lines that callers cause, known or not.
    let strangers: LogLimiter

    init(
        _ configuration: FramedTransportConfiguration,
        metrics: TransportMetrics,
        log: Logger,
        delegate: any RaftTransportDelegate,
        clock: any Clock
    ) {
        self.configuration = configuration
        self.metrics = metrics
        self.log = log
        self.delegate = delegate
        strangers = LogLimiter(every: .seconds(1), clock: clock)
    }

    var identity: NodeIdentity { configuration.identity }

    /// Counts what a peer or a stranger sent that makes no sense, and logs it now and then.
    func badInput(_ error: any Error, from address: String, peer: ReplicaID?) {
        switch error {
        case FrameError.oversized: metrics.oversizedReceived.increment()
        case FrameError.cutShort, GreetingError.ended, is NetworkError: return
        case GreetingError.notChronik: metrics.unknownProtocol.increment()
        case GreetingError.timedOut: metrics.timedOutHandshakes.increment()
        default: metrics.malformed.increment()
        }
        strangers.limited { suppressed in
            log.warning(
                "a connection is closed for what was sent on it",
                [
                    "address": address, "peer": peer.map { "\($0)" } ?? "unknown",
                    "error": "\(error)", "suppressed": "\(suppressed)",
                ]
            )
        }
    }
}

extension PeerFrame.Stream {
    /// Whether frames of a kind belong on the stream.
    func carries(_ kind: FrameHeader.Kind) -> Bool {
        switch kind {
        case .messages: self == .messages
        case .beat: self == .liveness
        case .snapshotChunk, .snapshotAnswer: self == .snapshots
        case .call, .answer: self == .calls
        case .keepAlive: true
        case .receipt: false
        }
    }
}
