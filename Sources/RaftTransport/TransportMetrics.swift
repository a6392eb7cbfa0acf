internal import Platform
internal import RaftRuntime

/// What a transport counts.
struct TransportMetrics: Sendable {
    struct Traffic: Sendable {
        let framesSent: Counter
        let bytesSent: Counter
        let framesReceived: Counter
        let bytesReceived: Counter
        let framesDropped: Counter
    }

    /// By the number of the stream.
    private let traffic: [Traffic]
    let outgoing: Gauge
    let incoming: Gauge
    let connectFailures: Counter
    let stalls: Counter
    let malformed: Counter
    let oversizedReceived: Counter
    let oversizedSent: Counter
    let unknownProtocol: Counter
    let timedOutHandshakes: Counter
    let refusedHandshakes: Counter
    private let refusedByUs: [Counter]
    private let refusedByPeers: [Counter]

    init(_ registry: MetricsRegistry) {
        traffic = PeerFrame.Stream.allCases.map { Self.traffic($0, registry) }
        let connections = "Open connections between nodes."
        outgoing = registry.gauge(
            "raft_transport_connections",
            connections,
            labels: ["direction": "outgoing"]
        )
        incoming = registry.gauge(
            "raft_transport_connections",
            connections,
            labels: ["direction": "incoming"]
        )
        let counter = { (name: String, help: String) in
            registry.counter("raft_transport_\(name)_total", help)
        }
        connectFailures = counter("connect_failures", "Peers that could not be connected to.")
        stalls = counter("stalls", "Connections closed because nothing moved on them.")
        malformed = counter("malformed_frames", "Frames and greetings that made no sense.")
        oversizedReceived = counter("oversized_frames_received", "Frames refused for their length.")
        oversizedSent = counter("oversized_frames_sent", "Frames too long to be sent.")
        unknownProtocol = counter("unknown_protocol", "Connections that speak something else.")
        timedOutHandshakes = counter("handshake_timeouts", "Handshakes that were not finished.")
        refusedHandshakes = counter(
            "handshakes_crowded_out",
            "Connections closed because too many had not said who they are."
        )
        refusedByUs = Self.refusals(registry, by: "this_node")
        refusedByPeers = Self.refusals(registry, by: "peer")
    }

    subscript(stream: PeerFrame.Stream) -> Traffic { traffic[Int(stream.rawValue)] }

    func refused(_ reason: HandshakeRefusal.Reason, byUs: Bool) {
        (byUs ? refusedByUs : refusedByPeers)[Int(reason.rawValue) - 1].increment()
    }

    private static func refusals(_ registry: MetricsRegistry, by side: String) -> [Counter] {
        // The numbers of the reasons run from 1.
        HandshakeRefusal.Reason.allCases.map { reason in
            registry.counter(
                "raft_transport_handshakes_refused_total",
                "Handshakes refused, by whom and why.",
                labels: ["by": side, "reason": "\(reason)"]
            )
        }
    }

    private static func traffic(
        _ stream: PeerFrame.Stream,
        _ registry: MetricsRegistry
    ) -> Traffic {
        let counter = { (name: String, help: String) in
            registry.counter(
                "raft_transport_\(name)_total",
                help,
                labels: ["stream": "\(stream)"]
            )
        }
        return Traffic(
            framesSent: counter("frames_sent", "Frames given to the kernel."),
            bytesSent: counter("bytes_sent", "Bytes of frames given to the kernel."),
            framesReceived: counter("frames_received", "Frames handed on."),
            bytesReceived: counter("bytes_received", "Bytes of frames handed on."),
            framesDropped: counter("frames_dropped", "Frames dropped instead of waiting longer.")
        )
    }
}
