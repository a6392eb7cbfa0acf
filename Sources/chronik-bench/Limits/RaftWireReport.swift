/// What both transports did, side by side.
struct RaftWireReport: Sendable {
    var framed: RaftWireProbe.Figures
    var grpc: RaftWireProbe.Figures

    var json: JSONValue {
        .object([
            ("command", .text("raft-wire")),
            ("framed", framed.json),
            ("grpc", grpc.json),
        ])
    }

    var table: String {
        let head = Self.row("", "framed", "grpc")
        let rows = zip(framed.rows, grpc.rows).map { Self.row($0.what, $0.figure, $1.figure) }
        return ([head] + rows).joined(separator: "\n") + "\n"
    }

    private static func row(_ what: String, _ framed: String, _ grpc: String) -> String {
        what + pad(framed, to: 64 - what.count) + pad(grpc, to: 20)
    }

    private static func pad(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(1, width - text.count)) + text
    }
}

extension RaftWireProbe.Figures {
    fileprivate var json: JSONValue {
        var values: [(String, JSONValue)] = [
            ("round_trip_p50_us", .number(microseconds(0.5))),
            ("round_trip_p99_us", .number(microseconds(0.99))),
            ("round_trip_processor_us", .number(processorPerRoundTrip)),
            ("batched_100_byte_messages_per_second", .number(messagesPerSecond)),
            ("single_100_byte_frames_per_second", .number(singleFramesPerSecond)),
            ("64_kib_megabytes_per_second", .number(largeMegabytesPerSecond)),
        ]
        if let heartbeatBytes { values.append(("bytes_per_heartbeat", .number(heartbeatBytes))) }
        return .object(values)
    }

    private func microseconds(_ quantile: Double) -> Double {
        Double(roundTrips.quantile(quantile)) / 1e3
    }

    fileprivate var rows: [(what: String, figure: String)] {
        [
            ("append and answer, one in flight, p50, µs", Decimals.text(microseconds(0.5), 1)),
            ("append and answer, one in flight, p99, µs", Decimals.text(microseconds(0.99), 1)),
            ("processor time of both for one, µs", Decimals.text(processorPerRoundTrip, 1)),
            ("100-byte messages a second, 256 a frame", Decimals.grouped(Int(messagesPerSecond))),
            (
                "100-byte messages a second, one a frame",
                Decimals.grouped(Int(singleFramesPerSecond))
            ),
            ("64 KiB messages, MB/s", Decimals.text(largeMegabytesPerSecond, 0)),
            (
                "a heartbeat among a thousand, bytes",
                heartbeatBytes.map { Decimals.text($0, 1) } ?? "-"
            ),
        ]
    }
}
